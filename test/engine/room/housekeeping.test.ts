import { afterEach, expect, test } from 'bun:test'
import type { EngineOptions } from '#engine/room/engine.ts'
import { shardOf } from '#core/shard.ts'
import { commit } from '#store/room/commit.ts'
import { testDatabase } from '#test/database.ts'
import { alice, createRoom, openStage, refusal, say, type Stage, until } from '#test/room-engine.ts'
import { RemoteRoom, RemoteServer } from './fetch/remote-room.ts'
import { Residents } from './fetch/residents.ts'

const database = await testDatabase()
const first = new RemoteServer('first.test')
const stages: Stage[] = []

afterEach(async () => {
  for (const stage of stages.splice(0)) await stage.stop()
})

/** A room of another server, with some members. */
function remoteRoom(version: string): { room: RemoteRoom; federation: Residents } {
  const room = new RemoteRoom(version, [first])
  for (let i = 0; i < 40; i++) room.join(first.user(`u${i}`))
  return { room, federation: new Residents([first], [room]) }
}

async function open(changes: Partial<EngineOptions>): Promise<Stage> {
  const stage = await openStage(database, [], changes)
  stages.push(stage)
  return stage
}

const join = ({ rooms }: Stage, roomId: string) =>
  rooms.call('join', roomId, { userId: alice, content: '{}', via: [first.name] })

/** Rows of all generations of a room: those that it uses, and others. */
async function rowsOf(roomId: string): Promise<{ used: number; unused: number }> {
  const [row] = await database.pool<{ used: number; unused: number }[]>`
    select count(*) filter (where t.generation = r.generation)::int as used,
      count(*) filter (where t.generation <> r.generation)::int as unused
    from rooms r
    left join (
      select room_nid, generation from current_state
      union all select room_nid, generation from memberships
      union all select room_nid, generation from room_servers
    ) t on t.room_nid = r.room_nid
    where r.room_id = ${roomId}`
  return row!
}

const tidy = (roomId: string) => async () => (await rowsOf(roomId)).unused === 0

test('what a join has staged goes when it fails, and the next one succeeds', async () => {
  const { room, federation } = remoteRoom('11')
  let failing = true
  let staged = 0
  const stage = await open({
    federation,
    commit: async (pool, batch) => {
      // What is staged is committed, the state that is made of it is not.
      if (batch.parts.some(({ flip }) => flip !== null)) {
        staged = (await rowsOf(room.roomId)).unused
        if (failing) throw new Error('not this one')
      }
      await commit(pool, batch)
    },
  })
  expect(await refusal(join(stage, room.roomId))).toEqual([500, 'M_UNKNOWN'])
  expect(staged).toBeGreaterThan(80)
  await until(tidy(room.roomId))
  expect(await rowsOf(room.roomId)).toEqual({ used: 0, unused: 0 })

  failing = false
  await join(stage, room.roomId)
  await until(tidy(room.roomId))
  expect((await rowsOf(room.roomId)).used).toBeGreaterThan(80)
})

test('what a join had staged when its worker was killed goes once it has ended', async () => {
  const { room, federation } = remoteRoom('12')
  const killed = Promise.withResolvers<void>()
  const dead = await openStage(database, [], {
    federation,
    commit: async (pool, batch) => {
      if (batch.parts.some(({ flip }) => flip !== null)) {
        killed.resolve()
        await new Promise<never>(() => {})
      }
      await commit(pool, batch)
    },
  })
  void join(dead, room.roomId).catch(() => {})
  await killed.promise
  const before = (await rowsOf(room.roomId)).unused
  expect(before).toBeGreaterThan(80)

  // Nobody lets it in any more: it is given up.
  federation.lie = ({ name }, answer) =>
    name === 'send_join' ? { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'No' } } : answer
  const stage = await open({ federation })
  await until(() => stage.errors.length > 0)
  await until(tidy(room.roomId))
  expect(await rowsOf(room.roomId)).toEqual({ used: 0, unused: 0 })
  const pending = () => database.pool`select from pending_joins where room_id = ${room.roomId}`
  await until(async () => (await pending()).length === 0)
})

test('what is left over is found at the start, and what is in use stays', async () => {
  const before = await open({})
  const roomId = await createRoom(before)
  await before.stop()
  const { used } = await rowsOf(roomId)
  await database.pool`
    insert into current_state (shard, room_nid, generation, type_nid, state_key_nid, event_nid)
    select shard, room_nid, 7, type_nid, state_key_nid, event_nid from current_state
    where room_nid = (select room_nid from rooms where room_id = ${roomId})`
  await database.pool`
    insert into room_servers (shard, room_nid, generation, server_nid, joined)
    select shard, room_nid, 9, server_nid, joined from room_servers
    where room_nid = (select room_nid from rooms where room_id = ${roomId})`
  expect((await rowsOf(roomId)).unused).toBeGreaterThan(1)
  const stage = await open({})
  await until(tidy(roomId))
  expect((await rowsOf(roomId)).used).toBe(used)
  await say(stage, roomId, 'still here')
  expect(stage.errors).toEqual([])
})

test('transaction IDs are forgotten when they are old, and no sooner', async () => {
  let now = Date.now()
  const stage = await open({ now: () => now, limits: { tidyMs: 5, keepTxnsMs: 60_000 } })
  const roomId = await createRoom(stage)
  const send = (txnId: string) =>
    stage.rooms.call('send', roomId, {
      sender: alice,
      type: 'm.room.message',
      content: '{"body":"x","msgtype":"m.text"}',
      txn: { userId: alice, deviceId: 'D', path: 'p', txnId },
    })
  const ids = async () => {
    const rows = await database.pool<{ txn_id: string }[]>`
      select txn_id from local_txns where shard = ${shardOf(roomId)} order by 1`
    return rows.map((row) => row.txn_id)
  }
  const one = await send('1')
  now += 50_000
  await send('2')
  now += 20_000
  await until(async () => (await ids()).length === 1)
  expect(await ids()).toEqual(['2'])
  expect((await send('1')).eventId).not.toBe(one.eventId)
  expect(stage.errors).toEqual([])
})
