import { afterEach, describe, expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import type { EngineOptions } from '#engine/room/engine.ts'
import type { RemainsStep } from '#engine/worker/protocol.ts'
import { commit } from '#store/room/commit.ts'
import { roomTables } from '#store/room/remains.ts'
import { testDatabase } from '#test/database.ts'
import { alice, createRoom, openStage, refusal, say, type Stage } from '#test/room-engine.ts'
import {
  ghost,
  messages,
  openImport,
  person,
  sendBatch,
} from '#test/engine/room/import/importing.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'

const database = await testDatabase()
const sql = database.pool
const stages: Stage[] = []
afterEach(async () => {
  for (const stage of stages.splice(0)) await stage.stop()
})

async function open(changes: Partial<EngineOptions> = {}): Promise<Stage> {
  const stage = await openStage(database, [], changes)
  stages.push(stage)
  return stage
}

const leave = ({ rooms }: Stage, roomId: string) =>
  rooms.call('changeMembership', roomId, {
    sender: alice,
    target: alice,
    membership: 'leave',
    content: '{}',
  })

/** Rows that hang on a room or on an event of it, in all tables that have such a number. */
async function rowsOf(roomNid: number, shard: number, eventNids: readonly number[]) {
  const columns = await sql<{ name: string; column: string }[]>`
    select table_name as name, column_name as column from information_schema.columns
    where table_schema = 'public' and column_name in ('room_nid', 'event_nid')`
  const left: Record<string, number> = {}
  for (const { name, column } of columns) {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from ${sql(name)}
      where shard = ${shard} and ${
        column === 'room_nid'
          ? sql`room_nid = ${roomNid}`
          : sql`event_nid = any(${eventNids as number[]}::bigint[])`
      }`
    if (row!.count > 0) left[name] = Math.max(left[name] ?? 0, row!.count)
  }
  return left
}

async function numbersOf(roomId: string) {
  const [room] = await sql<{ room_nid: number }[]>`
    select room_nid from rooms where room_id = ${roomId}`
  const events = await sql<{ event_nid: number }[]>`
    select event_nid from events where shard = ${shardOf(roomId)} and room_nid = ${room!.room_nid}`
  return { nid: room!.room_nid, events: events.map((row) => row.event_nid) }
}

async function dropAll({ rooms }: Stage, roomId: string, roomNid: number): Promise<void> {
  for (let step: RemainsStep | null = { phase: 'events', after: 0 }; step;)
    step = await rooms.call('dropRemains', roomId, roomNid, step)
}

describe('a room', () => {
  test('is not removed while users of this server are in it, unless it must be', async () => {
    const stage = await open()
    const roomId = await createRoom(stage)
    expect(await refusal(stage.rooms.call('removeRoom', roomId, false))).toEqual([400, 'M_UNKNOWN'])
    await say(stage, roomId, 'still here')
    const { nid } = await numbersOf(roomId)
    expect(await stage.rooms.call('removeRoom', roomId, true)).toEqual([nid])
    expect((await refusal(say(stage, roomId, 'anybody?')))[0]).toBeGreaterThanOrEqual(403)
  })

  test('is gone at once, and then every row of it, and none of another', async () => {
    const stage = await open()
    const roomId = await createRoom(stage)
    for (let each = 0; each < 20; each++) await say(stage, roomId, `message ${each}`)
    let twin = await createRoom(stage)
    for (let tries = 0; shardOf(twin) !== shardOf(roomId) && tries < 500; tries++)
      twin = await createRoom(stage)
    await leave(stage, roomId)
    const [gone, stays] = [await numbersOf(roomId), await numbersOf(twin)]
    const shard = shardOf(roomId)
    const before = await rowsOf(gone.nid, shard, gone.events)
    for (const table of ['events', 'event_json', 'event_ids', 'spans', 'current_state'])
      expect(before[table]).toBeGreaterThan(0)
    const others = await rowsOf(stays.nid, shardOf(twin), stays.events)

    expect(await stage.rooms.call('removeRoom', roomId, false)).toEqual([gone.nid])
    expect(await sql`select from rooms where room_id = ${roomId}`).toHaveLength(0)
    expect((await refusal(say(stage, roomId, 'anybody?')))[0]).toBeGreaterThanOrEqual(403)
    // Whoever lost count, or was stopped, finds what is left.
    expect(await stage.rooms.call('removeRoom', roomId, false)).toEqual([gone.nid])
    await dropAll(stage, roomId, gone.nid)
    expect(await rowsOf(gone.nid, shard, gone.events)).toEqual({})
    expect(await rowsOf(stays.nid, shardOf(twin), stays.events)).toEqual(others)
    expect(await stage.rooms.call('removeRoom', roomId, false)).toEqual([])
    await say(stage, twin, 'still here')
  })

  test('that is not known is as good as removed', async () => {
    const stage = await open()
    expect(await stage.rooms.call('removeRoom', '!none:here.test', false)).toEqual([])
  })

  test('of which something is left is never found by its rows', async () => {
    const stage = await open()
    const roomId = await createRoom(stage)
    const { nid } = await numbersOf(roomId)
    // It is there: nothing of it is dropped.
    await dropAll(stage, roomId, nid)
    await say(stage, roomId, 'whole')
  })
})

test('an import goes with its room, and that of another stays', async () => {
  const stage = await open()
  const [roomId, twin] = [await createRoom(stage), await createRoom(stage)]
  const people = [person(ghost('ann'))]
  const sessions: string[] = []
  for (const each of [roomId, twin]) {
    const { session_id: session } = await openImport(stage, each)
    const records = [
      ...messages('m', ghost('ann'), 10),
      { ...messages('waits', ghost('ann'), 1)[0]!, relates: { reply: 'comes later' } },
    ]
    await sendBatch(stage, each, session, 0, { records, people })
    sessions.push(session)
  }
  const kept = async () => {
    const counts = await Promise.all(
      ['import_batches', 'import_waiting', 'import_people'].map(async (table) => {
        const rows = await sql<
          { session: number }[]
        >`select session_nid as session from ${sql(table)}`
        return rows.length
      }),
    )
    const left = await sql<{ session_id: string }[]>`select session_id from import_sessions`
    const ids = left.map((row) => row.session_id)
    return { counts, sessions: sessions.map((id) => ids.includes(id)) }
  }
  const before = await kept()
  expect(before.sessions).toEqual([true, true])
  const { nid } = await numbersOf(roomId)
  await stage.rooms.call('removeRoom', roomId, true)
  await dropAll(stage, roomId, nid)
  const after = await kept()
  expect(after.sessions).toEqual([false, true])
  expect(after.counts).toEqual(before.counts.map((count) => count - 1))
})

test('a room that was removed is joined anew, with the same events under new numbers', async () => {
  const first = new RemoteServer('first.test')
  const room = new RemoteRoom('11', [first])
  for (let each = 0; each < 5; each++) room.join(first.user(`u${each}`))
  const stage = await open({ federation: new Residents([first], [room]) })
  const { roomId } = room
  const join = () =>
    stage.rooms.call('join', roomId, { userId: alice, content: '{}', via: [first.name] })
  await join()
  const before = await numbersOf(roomId)
  await stage.rooms.call('removeRoom', roomId, true)
  // Before the rows of the first time have gone, or after: it makes no difference to anybody.
  await dropAll(stage, roomId, before.nid)
  await join()
  const after = await numbersOf(roomId)
  expect(after.nid).not.toBe(before.nid)
  expect(after.events.length).toBeGreaterThan(5)
  expect(after.events.filter((nid) => before.events.includes(nid))).toEqual([])
  await say(stage, roomId, 'again')
})

test('what comes while a room is removed lands before, or finds no room', async () => {
  const stage = await open()
  const roomId = await createRoom(stage)
  const { nid } = await numbersOf(roomId)
  const said = (count: number) =>
    Array.from({ length: count }, (_, each) =>
      say(stage, roomId, `message ${each}`).then(
        () => 'landed',
        () => 'refused',
      ),
    )
  const before = said(10)
  const removed = stage.rooms.call('removeRoom', roomId, true)
  const outcomes = await Promise.all([...before, ...said(10)])
  expect(await removed).toEqual([nid])
  expect(outcomes).toContain('refused')
  expect(await said(1)[0]).toBe('refused')
  await dropAll(stage, roomId, nid)
  expect(await rowsOf(nid, shardOf(roomId), [])).toEqual({})
})

test('a commit that fails under a removal lets the room be used again', async () => {
  let failures = 0
  const stage = await open({
    commit: async (pool, batch) => {
      if (failures > 0 && failures--) throw new Error('not this one')
      await commit(pool, batch)
    },
  })
  const roomId = await createRoom(stage)
  const { nid } = await numbersOf(roomId)
  failures = 2
  const outcome = await stage.rooms.call('removeRoom', roomId, true).then(
    () => 'removed',
    () => 'refused',
  )
  failures = 0
  if (outcome === 'refused') await say(stage, roomId, 'still here')
  expect(await stage.rooms.call('removeRoom', roomId, true)).toEqual([nid])
})

test('every table of rooms is one that a removal knows', async () => {
  const tables = await sql<{ name: string }[]>`
    select table_name as name from information_schema.columns
    where table_schema = 'public' and column_name = 'room_nid' order by 1`
  const known = [...roomTables, 'rooms', 'room_remains', 'events']
  // These are others' to write: they forget what is sent, and main drops what it indexed.
  const ofOthers = /^(outbox_|push_|relations$|search_words$)/
  const own = tables.map(({ name }) => name).filter((name) => !ofOthers.test(name))
  expect(own.sort()).toEqual(known.sort())
})
