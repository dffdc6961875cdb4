import { describe, expect, test } from 'bun:test'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  joinFrom,
  openStage,
  refusal,
  say,
  type Stage,
  until,
} from '#test/room-engine.ts'
import type { RemainsStep } from '#engine/worker/protocol.ts'
import { endImport, ghost, messages, openImport, person, sendBatch } from './importing.ts'

const db = await testDatabase()
const ann = ghost('ann')
const people = [person(ann)]
const far = new MadeUpServer('far.test')

async function imported(stage: Stage, roomId: string, count: number): Promise<string> {
  const { session_id: session } = await openImport(stage, roomId, { federate: true })
  await sendBatch(stage, roomId, session, 0, { records: messages('m', ann, count), people })
  return session
}

/** What a server leaves that is killed: what it has noted, and nothing done of it. */
const kill = async (stage: Stage, session: string, noted: object) => {
  await stage.stop()
  await db.pool`update import_sessions set ${db.pool(noted)} where session_id = ${session}`
}

const sessionOf = async (session: string) => {
  const [row] = await db.pool<
    { state: string; untidied: boolean; take_back_after: number | null }[]
  >`
    select state, untidied, take_back_after from import_sessions where session_id = ${session}`
  return row!
}

/** What is left of a session, row by row. */
async function leftOf(session: string) {
  const count = async (rows: PromiseLike<{ count: number }[]>) => (await rows)[0]!.count
  const own = db.pool`
    select s.*, r.generation from import_sessions s
    left join rooms r on r.shard = s.shard and r.room_nid = s.room_nid
    where s.session_id = ${session}`
  return {
    events: await count(db.pool<{ count: number }[]>`
      select count(*)::int from (${own}) s join events e on e.shard = s.shard and e.chain = s.chain`),
    states: await count(db.pool<{ count: number }[]>`
      select count(*)::int from (${own}) s
      join snapshots n on n.shard = s.shard and n.room_nid = s.room_nid
        and n.snapshot_nid >= s.base_snapshot`),
    records: await count(db.pool<{ count: number }[]>`
      select count(*)::int from (${own}) s join import_records r using (shard, session_nid)`),
    waiting: await count(db.pool<{ count: number }[]>`
      select count(*)::int from (${own}) s join import_waiting w using (shard, session_nid)`),
    people: await count(db.pool<{ count: number }[]>`
      select count(*)::int from (${own}) s join import_people p using (shard, session_nid)`),
    members: await count(db.pool<{ count: number }[]>`
      select count(*)::int from (${own}) s join user_ids u on u.user_id = ${ann}
      join memberships m on m.shard = s.shard and m.room_nid = s.room_nid and m.user_nid = u.user_nid`),
  }
}

async function idsOf(session: string): Promise<string[]> {
  const rows = await db.pool<{ id: string }[]>`
    select encode(e.event_id, 'hex') as id from import_sessions s
    join events e on e.shard = s.shard and e.chain = s.chain
    where s.session_id = ${session} order by e.chain_index`
  return rows.map(({ id }) => id)
}

const redactions = (roomId: string) => db.pool<{ json: string }[]>`
  select j.json from rooms r
  join events e using (shard, room_nid)
  join event_types t on t.type_nid = e.type_nid and t.type = 'm.room.redaction'
  join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
  where r.room_id = ${roomId} order by e.position`

const nothing = { events: 0, states: 0, records: 0, waiting: 0, people: 0, members: 0 }

describe('a server that ends', () => {
  test('behind an abort drops what was staged when it starts again, and all of it', async () => {
    const first = await openStage(db)
    const roomId = await createRoom(first, '11')
    await say(first, roomId, 'one')
    const session = await imported(first, roomId, 1_200)
    const waits = { ...messages('w', ann, 1)[0]!, relates: { reply: 'never' } }
    await sendBatch(first, roomId, session, 1, { records: [waits] })
    const there = await leftOf(session)
    expect(there).toMatchObject({ records: 1_201, waiting: 1, people: 1, members: 0 })
    expect(there.events).toBeGreaterThan(1_200)
    await kill(first, session, { state: 'aborted', untidied: true })
    await using second = await openStage(db)
    await until(async () => !(await sessionOf(session)).untidied)
    expect(await leftOf(session)).toEqual(nothing)
    // The room goes on, and the records may come again.
    await say(second, roomId, 'two')
    const again = await imported(second, roomId, 20)
    await endImport(second, roomId, again, 'commit')
    expect(await leftOf(again)).toMatchObject({ records: 20, members: 1 })
    expect(second.errors).toEqual([])
  })

  test('behind an abort drops what was staged before the same is imported anew', async () => {
    const first = await openStage(db)
    const roomId = await createRoom(first)
    await say(first, roomId, 'one')
    const session = await imported(first, roomId, 1_200)
    const ids = await idsOf(session)
    await kill(first, session, { state: 'aborted', untidied: true })
    await using second = await openStage(db)
    // The room is what it was, so these are the same events.
    const again = await imported(second, roomId, 1_200)
    expect(await idsOf(again)).toEqual(ids)
    expect(ids.length).toBeGreaterThan(1_200)
    await endImport(second, roomId, again, 'commit')
    expect(second.errors).toEqual([])
  })

  test('while it undoes an import goes on with it when it starts again', async () => {
    const first = await openStage(db)
    const roomId = await createRoom(first)
    await say(first, roomId, 'one')
    const session = await imported(first, roomId, 30)
    await endImport(first, roomId, session, 'commit')
    await kill(first, session, { state: 'undoing' })
    await using second = await openStage(db)
    await until(async () => (await sessionOf(session)).state === 'undone')
    await until(async () => !(await sessionOf(session)).untidied)
    const [span] = await db.pool<{ hidden: boolean }[]>`
      select bool_and(n.hidden) as hidden from import_sessions s
      join spans n on n.shard = s.shard and n.chain = s.chain where s.session_id = ${session}`
    expect(span!.hidden).toBe(true)
    const left = await leftOf(session)
    // What was published stays, out of sight.
    expect(left).toMatchObject({ records: 0, waiting: 0 })
    expect(left.events).toBeGreaterThan(30)
    const told = await endImport(second, roomId, session, 'undo')
    expect(told).toEqual({ session_id: session, state: 'undone' } as never)
    expect(second.errors).toEqual([])
  })

  test('while other servers are told goes on where it was, and redacts nothing twice', async () => {
    const first = await openStage(db, [far])
    const roomId = await createRoom(first, '11')
    await joinFrom(first, db, roomId, far, 'zoe')
    const session = await imported(first, roomId, 250)
    await endImport(first, roomId, session, 'commit')
    await endImport(first, roomId, session, 'undo')
    const stages = [first]
    for (const least of [1, 101]) {
      await until(async () => (await redactions(roomId)).length >= least)
      await stages.at(-1)!.stop()
      stages.push(await openStage(db, [far]))
    }
    await until(async () => (await sessionOf(session)).take_back_after === null)
    const targets = (await redactions(roomId)).map(({ json }) => JSON.parse(json).content.redacts)
    expect(targets).toHaveLength(250)
    expect(new Set(targets).size).toBe(250)
    for (const stage of stages) expect(stage.errors).toEqual([])
    await stages.at(-1)!.stop()
  })
})

describe('an import that was undone', () => {
  test('is redacted where another server came after it, though none was there before', async () => {
    await using stage = await openStage(db, [far])
    const roomId = await createRoom(stage, '11')
    const { session_id: session } = await openImport(stage, roomId)
    await sendBatch(stage, roomId, session, 0, { records: messages('m', ann, 3), people })
    await endImport(stage, roomId, session, 'commit')
    await joinFrom(stage, db, roomId, far, 'zoe')
    await endImport(stage, roomId, session, 'undo')
    await until(async () => (await redactions(roomId)).length === 3)
    await until(async () => (await sessionOf(session)).take_back_after === null)
    expect(stage.errors).toEqual([])
  })

  test('is redacted nowhere if nobody else ever saw it, or nobody of ours may', async () => {
    await using stage = await openStage(db, [far])
    const alone = await createRoom(stage, '11')
    const kept = await imported(stage, alone, 3)
    await endImport(stage, alone, kept, 'commit')
    await endImport(stage, alone, kept, 'undo')
    await until(async () => (await sessionOf(kept)).take_back_after === null)
    expect(await redactions(alone)).toHaveLength(0)

    const power = { redact: 101 }
    const strict = await createRoom(stage, '11', { powerLevelOverride: power })
    await joinFrom(stage, db, strict, far, 'zoe')
    const session = await imported(stage, strict, 3)
    await endImport(stage, strict, session, 'commit')
    await endImport(stage, strict, session, 'undo')
    await until(async () => (await sessionOf(session)).take_back_after === null)
    expect(await redactions(strict)).toHaveLength(0)
    expect(String(stage.errors[0])).toContain('redact')
  })
})

test('a room that is removed in the middle of a batch leaves nothing of it', async () => {
  await using stage = await openStage(db)
  const roomId = await createRoom(stage)
  const { session_id: session } = await openImport(stage, roomId)
  const records = messages('m', ann, 1_500)
  const sent = sendBatch(stage, roomId, session, 0, { records, people })
  const nids = await stage.rooms.call('removeRoom', roomId, true)
  expect(await sent).toMatchObject({ accepted: 1_500 })
  expect(nids).toHaveLength(1)
  let step: RemainsStep | null = { phase: 'events', after: 0 }
  while (step) step = await stage.rooms.call('dropRemains', roomId, nids[0]!, step)
  const left = await db.pool`select from events where room_nid = ${nids[0]!}`
  expect(left).toHaveLength(0)
  const more = sendBatch(stage, roomId, session, 1, { records: [] })
  expect(await refusal(more)).toEqual([404, 'M_NOT_FOUND'])
})
