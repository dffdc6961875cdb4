import { describe, expect, test } from 'bun:test'
import * as sessions from '#store/import/sessions.ts'
import { commit } from '#store/room/commit.ts'
import { testDatabase } from '#test/database.ts'
import { createRoom, openStage, say, type Stage, until } from '#test/room-engine.ts'
import { endImport, ghost, messages, openImport, person, sendBatch } from './importing.ts'

const db = await testDatabase()
const ann = ghost('ann')
const people = [person(ann)]

/** The texts of a room's chain, in order; and how often each record is there. */
async function chainOf(sessionId: string): Promise<string[]> {
  const rows = await db.pool<{ json: string }[]>`
    select j.json from import_sessions s
    join events e on e.shard = s.shard and e.chain = s.chain and e.state_key_nid is null
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where s.session_id = ${sessionId} order by e.chain_index`
  return rows.map(({ json }) => JSON.parse(json).content.body)
}

/** Each event of a chain cites the one before it. */
async function isChained(sessionId: string): Promise<boolean> {
  const [row] = await db.pool<{ broken: number }[]>`
    with own as (
      select e.event_nid, e.prev_nids, lag(e.event_nid) over (order by e.chain_index) as prev
      from import_sessions s
      join events e on e.shard = s.shard and e.chain = s.chain
      where s.session_id = ${sessionId}
    )
    select count(*)::int as broken from own where prev is not null and prev_nids <> array[prev]`
  return row!.broken === 0
}

const bodies = (count: number) => Array.from({ length: count }, (_, index) => `m${index}`)

describe('a server that ends', () => {
  test('in the middle of a batch goes on with it, and nothing is lost, doubled or out of order', async () => {
    const first = await openStage(db)
    const roomId = await createRoom(first)
    const { session_id: session } = await openImport(first, roomId)
    const records = messages('m', ann, 4_000)
    await sendBatch(first, roomId, session, 0, { records: records.slice(0, 600), people })
    const stages: Stage[] = [first]
    const batch = { records: records.slice(600) }
    // Each owner takes the room away from the one before, in the middle of its work.
    for (const least of [1_000, 2_000, 3_000]) {
      // An owner that has lost its shard may not even answer any more: it ends.
      void sendBatch(stages.at(-1)!, roomId, session, 1, batch).catch(() => undefined)
      await until(async () => (await chainOf(session)).length >= least)
      stages.push(await openStage(db))
    }
    const last = stages.at(-1)!
    const answer = await sendBatch(last, roomId, session, 1, batch)
    expect(answer).toMatchObject({ next_batch: 2, accepted: 3_400, duplicates: 0, failed: [] })
    expect(await chainOf(session)).toEqual(bodies(4_000))
    expect(await isChained(session)).toBeTrue()
    expect(await sendBatch(last, roomId, session, 1, batch)).toEqual(answer)
    await endImport(last, roomId, session, 'commit')
    expect(last.errors).toEqual([])
    // A worker that has lost its shard is not stopped, it ends.
    for (const stage of stages) if (stage.fatal.length === 0) await stage.stop()
  })

  test('after the commit, and before it could say so, answers the same when it is asked again', async () => {
    let holds = false
    const held: unknown[] = []
    const first = await openStage(db, [], {
      commit: async (pool, batch) => {
        await commit(pool, batch)
        if (!holds || !batch.parts.some((part) => part.importChains.length > 0)) return
        held.push(batch)
        await new Promise(() => {})
      },
    })
    const roomId = await createRoom(first)
    await say(first, roomId, 'one')
    const { session_id: session } = await openImport(first, roomId)
    await sendBatch(first, roomId, session, 0, { records: messages('m', ann, 10), people })
    holds = true
    // Nobody ever hears what becomes of it.
    void endImport(first, roomId, session, 'commit').catch(() => undefined)
    await until(() => held.length > 0)
    await using second = await openStage(db)
    const answer = await endImport(second, roomId, session, 'commit')
    expect(answer).toMatchObject({ session_id: session, accepted: 10 })
    expect(answer['merge_event_id']).toBeString()
    expect(answer['marker_event_id']).toBeString()
    expect(await endImport(second, roomId, session, 'commit')).toEqual(answer)
    const [row] = await db.pool<{ merges: number; markers: number }[]>`
      select count(*) filter (where t.type = 'org.laneway.import.merge')::int as merges,
        count(*) filter (where t.type = 'org.matrix.msc2716.marker')::int as markers
      from rooms r join events e using (shard, room_nid) join event_types t using (type_nid)
      where r.room_id = ${roomId}`
    expect(row).toEqual({ merges: 1, markers: 1 })
    const undone = await endImport(second, roomId, session, 'undo')
    expect(undone['state']).toBe('undone')
  })
})

test('a record that waits keeps its place, also over a restart', async () => {
  const first = await openStage(db)
  const roomId = await createRoom(first)
  const { session_id: session } = await openImport(first, roomId)
  const [zero, one, two, three] = messages('m', ann, 4)
  const records = [
    zero!,
    { ...one!, relates: { reply: 'm3' } },
    { ...two!, relates: { thread: 'never' } },
    { ...two!, src_id: 'lost', type: 'm.reaction', relates: { target: 'never', key: 'x' } },
  ]
  const sent = await sendBatch(first, roomId, session, 0, { records, people })
  expect(sent).toMatchObject({ accepted: 4, waiting: 3 })
  await first.stop()
  await using second = await openStage(db)
  const next = await sendBatch(second, roomId, session, 1, { records: [three!, records[1]!] })
  expect(next).toMatchObject({ accepted: 1, duplicates: 1, waiting: 2 })
  const done = await endImport(second, roomId, session, 'commit')
  expect(done).toMatchObject({ degraded: 1, lost: [{ src_id: 'lost', errcode: 'M_NOT_FOUND' }] })
  expect(await chainOf(session)).toEqual(bodies(4))
  const [reply] = await db.pool<{ json: string }[]>`
    select j.json from event_json j where j.json like '%in_reply_to%' and j.json like '%"m1"%'`
  expect(JSON.parse(reply!.json).content['m.relates_to']['m.in_reply_to'].event_id).toBeString()
})

test('replies in a circle are all there in the end', async () => {
  await using stage = await openStage(db)
  const roomId = await createRoom(stage)
  const { session_id: session } = await openImport(stage, roomId)
  const [zero, one, two] = messages('m', ann, 3)
  const records = [
    { ...zero!, relates: { reply: 'm2' } },
    { ...one!, relates: { reply: 'm0' } },
    { ...two!, relates: { reply: 'm1' } },
  ]
  const sent = await sendBatch(stage, roomId, session, 0, { records, people })
  expect(sent).toMatchObject({ accepted: 3, waiting: 3 })
  const done = await endImport(stage, roomId, session, 'commit')
  expect(done).toMatchObject({ degraded: 1, lost: [] })
  expect(await chainOf(session)).toEqual(bodies(3))
})

test('a batch that an owner before has noted after all is counted once', async () => {
  await using stage = await openStage(db)
  const roomId = await createRoom(stage)
  const { session_id: session } = await openImport(stage, roomId)
  await sendBatch(stage, roomId, session, 0, { records: messages('m', ann, 3), people })
  // What arrives late, and nobody in memory knows of.
  const row = (await sessions.byId(db.pool, session))!
  const counts = { accepted: 2, duplicates: 0, failed: 0, firstTs: null, lastTs: null }
  await sessions.finishBatch(db.pool, row, 1, '{}', counts)
  const batch = { records: messages('n', ann, 2) }
  expect(await sendBatch(stage, roomId, session, 1, batch)).toMatchObject({ next_batch: 2 })
  expect(await sessions.byId(db.pool, session)).toMatchObject({ next_batch: 2, accepted: 5 })
})
