import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import * as inbound from '#store/federation/inbound.ts'
import * as inbox from '#store/room/inbox.ts'
import * as localTxns from '#store/room/local-txns.ts'
import * as pendingJoins from '#store/room/pending-joins.ts'
import { Owner } from './fixtures.ts'

const { pool: sql } = await testDatabase()

async function insert(roomId: string, count: number, shard = 1): Promise<number[]> {
  const rows = await sql<{ inbox_id: number }[]>`
    insert into inbox (shard, room_id, origin, json, received_at)
    select ${shard}, ${roomId}, 'o', at::text, 1000 + at from generate_series(1, ${count}::int) at
    order by at returning inbox_id`
  return rows.map(({ inbox_id }) => inbox_id)
}

const list = (
  roomId: string,
  now: number,
  limit: number,
  { shard = 1, bytes = 1e6, held = [] as number[] } = {},
) => inbox.list(sql, shard, roomId, { now, limit, bytes, rowBytes: 100, held })

test('a room’s rows are read in their order, some at a time', async () => {
  const ids = await insert('!a:x', 5)
  await insert('!b:x', 2)
  const { rows, more, nextAt } = await list('!a:x', 50, 3)
  expect(rows.map(({ inbox_id }) => inbox_id)).toEqual(ids.slice(0, 3))
  expect(rows[0]).toMatchObject({ origin: 'o', json: '1', attempts: 0 })
  expect([more, nextAt]).toEqual([true, null])
  expect(await list('!a:x', 50, 9)).toMatchObject({ more: false, nextAt: null })
  const waiting = await inbox.roomsWaiting(sql, [1, 2])
  expect(waiting).toMatchObject([
    { room_id: '!a:x', rows: 5 },
    { room_id: '!b:x', rows: 2 },
  ])
  expect(await inbox.roomsWaiting(sql, [2])).toHaveLength(0)
})

test('rows are read up to so many bytes, and at least one; those in memory are left out', async () => {
  const ids = await insert('!bytes:x', 5)
  const idsOf = async (bytes: number, held: number[] = []) => {
    const { rows, more } = await list('!bytes:x', 50, 9, { bytes, held })
    return [rows.map(({ inbox_id }) => inbox_id), more]
  }
  expect(await idsOf(202)).toEqual([ids.slice(0, 2), true])
  expect(await idsOf(203)).toEqual([ids.slice(0, 3), true])
  expect(await idsOf(1)).toEqual([ids.slice(0, 1), true])
  expect(await idsOf(1e6, ids.slice(0, 3))).toEqual([ids.slice(3), false])
})

test('rows are put off for twice as long each time, and dropped in the end', async () => {
  const ids = await insert('!c:x', 2)
  const off = (now: number) =>
    inbox.postpone(sql, 1, ids.slice(0, 1), { now, pauseMs: 100, attempts: 3 })
  expect(await off(1000)).toEqual([])
  expect(await list('!c:x', 1099, 9)).toMatchObject({ nextAt: 1100 })
  expect((await list('!c:x', 1100, 9)).rows).toHaveLength(2)
  expect(await off(2000)).toEqual([])
  expect(await list('!c:x', 2000, 9)).toMatchObject({ nextAt: 2200 })
  expect(await off(3000)).toEqual(ids.slice(0, 1))
  expect((await list('!c:x', 1e9, 9)).rows.map(({ inbox_id: id }) => id)).toEqual(ids.slice(1))
})

test('what is put off for no fault of its own waits longer each time, and is dropped when it is old', async () => {
  const ids = await insert('!g:x', 1)
  const defer = (now: number) => inbox.defer(sql, 1, ids, { now, pauseMs: 100, keepMs: 50_000 })
  // It came at 1,001.
  expect(await defer(1_001)).toEqual([])
  expect(await list('!g:x', 1_100, 9)).toEqual({ rows: [], more: false, nextAt: 1_101 })
  for (let now = 2_001; now < 51_000; now += 1_000) expect(await defer(now)).toEqual([])
  expect(await list('!g:x', 50_001, 9)).toMatchObject({ rows: [], nextAt: 50_001 + 24_500 })
  const { rows } = await list('!g:x', 90_000, 9)
  expect(rows).toMatchObject([{ inbox_id: ids[0]!, attempts: 0 }])
  expect(await defer(51_002)).toEqual(ids)
  expect((await list('!g:x', 1e9, 9)).rows).toHaveLength(0)
})

test('a row that was put off is woken, and others are not', async () => {
  const ids = await insert('!woken:x', 2)
  await inbox.postpone(sql, 1, ids, { now: 1_000, pauseMs: 100, attempts: 9 })
  await inbox.wake(sql, 1, ids.slice(1))
  const { rows, nextAt } = await list('!woken:x', 1_000, 9)
  expect(rows).toMatchObject([{ inbox_id: ids[1]!, attempts: 1 }])
  expect(nextAt).toBe(1_100)
})

test('a quarantined row is kept with its error, out of the way', async () => {
  const ids = await insert('!d:x', 2)
  await inbox.quarantine(sql, 1, ids.slice(0, 1), 'bad \0 row', 77)
  expect((await list('!d:x', 1e9, 9)).rows).toHaveLength(1)
  const [row] = await sql`select * from inbox_quarantine where inbox_id = ${ids[0]!}`
  expect(row).toMatchObject({ room_id: '!d:x', json: '1', error: 'bad  row', quarantined_at: 77 })
  await inbox.drop(sql, 1, ids)
  expect((await list('!d:x', 1e9, 9)).rows).toHaveLength(0)
})

test('the gauges tell how much waits, where, and since when', async () => {
  await insert('!e:x', 3, 40)
  await insert('!f:x', 1, 40)
  expect(await inbox.gauges(sql)).toContainEqual({ shard: 40, rows: 4, oldest: 1001 })
  const [first] = await inbox.longest(sql, 1)
  expect(first!.rows).toBeGreaterThanOrEqual(3)
})

test('what waits of each origin is counted, unless that is known to be little', async () => {
  await insert('!backlog:x', 3)
  const counted = await inbound.backlog(sql, { least: 0, most: 1e6 })
  expect(counted).toContainEqual({ room_id: '!backlog:x', origin: 'o', weight: 3 })
  const some = await inbound.backlog(sql, { least: 0, most: 2 })
  expect(some.reduce((sum, { weight }) => sum + weight, 0)).toBe(2)
  // One that is long weighs more.
  await sql`
    insert into inbox (shard, room_id, origin, json, received_at)
    values (1, '!long:x', 'o', ${'x'.repeat(65_000)}, 1)`
  const long = await inbound.backlog(sql, { least: 0, most: 1e6 })
  expect(long.find(({ room_id: id }) => id === '!long:x')!.weight).toBe(16)
  expect(await inbound.backlog(sql, { least: 1e9, most: 1e6 })).toHaveLength(0)
})

test('a join that fails for good takes its backlog with it, unless another one still runs', async () => {
  const join = {
    shard: 3,
    room_id: '!j:x',
    user_id: '@a:x',
    version: '11',
    event: '{}',
    via: ['b', 'c'],
    created_at: 5,
  }
  await pendingJoins.put(sql, join)
  await pendingJoins.put(sql, { ...join, user_id: '@b:x', created_at: 6 })
  await pendingJoins.put(sql, { ...join, event: '{"again":1}' })
  expect([...(await pendingJoins.list(sql, [3]))]).toEqual([
    { ...join, event: '{"again":1}' },
    { ...join, user_id: '@b:x', created_at: 6 },
  ])
  await insert('!j:x', 2, 3)
  await pendingJoins.fail(sql, 3, '!j:x', '@a:x')
  expect((await list('!j:x', 1e9, 9, { shard: 3 })).rows).toHaveLength(2)
  await pendingJoins.fail(sql, 3, '!j:x', '@b:x')
  expect((await list('!j:x', 1e9, 9, { shard: 3 })).rows).toHaveLength(0)
  expect(await pendingJoins.list(sql, [3])).toHaveLength(0)
})

test('a join that fails leaves the backlog of a room that is known', async () => {
  const owner = await Owner.of(sql, [5])
  await owner.commit(owner.room(5, '!known:x'))
  await insert('!known:x', 1, 5)
  await pendingJoins.fail(sql, 5, '!known:x', '@a:x')
  expect((await list('!known:x', 1e9, 9, { shard: 5 })).rows).toHaveLength(1)
})

test('a transaction ID is found again, until it is old', async () => {
  const owner = await Owner.of(sql, [7])
  const part = owner.room(7)
  const event = owner.event(part)
  const txn = { userId: '@a:x', deviceId: 'D', path: 'p', txnId: 't' }
  part.txns.push({ ...txn, eventNid: event.eventNid, sentAt: 100 })
  await owner.commit(part)
  expect(await localTxns.find(sql, 7, txn)).toMatchObject({
    event_nid: event.eventNid,
    position: event.position,
  })
  expect(await localTxns.find(sql, 7, { ...txn, deviceId: 'E' })).toBeUndefined()
  expect(await localTxns.forget(sql, [7], 100, 10)).toBe(0)
  expect(await localTxns.forget(sql, [8], 101, 10)).toBe(0)
  expect(await localTxns.forget(sql, [7, 8], 101, 10)).toBe(1)
  expect(await localTxns.find(sql, 7, txn)).toBeUndefined()
})
