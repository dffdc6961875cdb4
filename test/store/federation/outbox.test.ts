import { describe, expect, test } from 'bun:test'
import type { Sql } from '#store/db.ts'
import * as outbox from '#store/federation/outbox.ts'
import * as outboxEdus from '#store/federation/outbox-edus.ts'
import * as outboxTxns from '#store/federation/outbox-txns.ts'
import { rollback } from '#test/database.ts'
import { commitEvents, internServers, makeSet, testShard } from '#test/engine/federation/rooms.ts'

const names = ['here.test', 'a.test', 'b.test', 'c.test']
const numbers = async (sql: Sql) => {
  const nids = await internServers(sql, names)
  return names.map((name) => nids.get(name)!) as [number, number, number, number]
}

describe('a set of servers', () => {
  test('is read through all the sets that it builds on, the nearest first', () =>
    rollback(async (sql) => {
      const [here, a, b, c] = await numbers(sql)
      const base = await makeSet(sql, [here, a])
      const second = await makeSet(sql, [b, -a], base)
      const third = await makeSet(sql, [a, c, -here], second)
      const members = await outbox.setMembers(sql, [base, second, third])
      const sorted = (set: number) => members.get(set)!.toSorted((x, y) => x - y)
      expect(sorted(base)).toEqual([here, a].toSorted((x, y) => x - y))
      expect(sorted(second)).toEqual([here, b].toSorted((x, y) => x - y))
      expect(sorted(third)).toEqual([a, b, c].toSorted((x, y) => x - y))
    }))
})

describe('the outbox', () => {
  const follow = (sql: Sql, from: number, to: number) =>
    outbox.follow(sql, 'here.test', [{ shard: testShard, from, to }])

  const planted = async (sql: Sql) => {
    const [here, a, b] = await numbers(sql)
    const set = await makeSet(sql, [here, a, b])
    await commitEvents(
      sql,
      [1, 2, 3].map((position) => ({ roomNid: 5, position, destinationSet: set })),
    )
  }

  test('takes a stretch in once, whoever else tries', () =>
    rollback(async (sql) => {
      await planted(sql)
      expect((await follow(sql, 0, 2)).toSorted()).toEqual(['a.test', 'b.test'])
      // The cursor has moved on: the same stretch has no effect.
      expect(await follow(sql, 0, 2)).toEqual([])
      expect((await follow(sql, 2, 3)).toSorted()).toEqual(['a.test', 'b.test'])
      const [room] = await outbox.pendingRooms(sql, 'a.test', { shard: -1, roomNid: 0 }, 10, 10)
      expect(room).toMatchObject({ room_nid: 5, last_position: 3, positions: [1, 2, 3] })
    }))

  test('keeps what came in while a transaction was on its way', () =>
    rollback(async (sql) => {
      await planted(sql)
      await follow(sql, 0, 2)
      const txn: outboxTxns.OutboxTxn = {
        server: 'a.test',
        txn_id: 'x',
        origin_server_ts: 1,
        shards: [],
        event_nids: [],
        edus: '[]',
        edu_ids: [],
        room_shards: [testShard],
        room_nids: [5],
        room_positions: [2],
      }
      await outboxTxns.add(sql, txn)
      expect(await outboxTxns.get(sql, 'a.test')).toEqual(txn)
      await follow(sql, 2, 3)
      await outboxTxns.finish(sql, txn)
      expect(await outboxTxns.get(sql, 'a.test')).toBeUndefined()
      const [room] = await outbox.pendingRooms(sql, 'a.test', { shard: -1, roomNid: 0 }, 10, 10)
      expect(room!.positions).toEqual([3])
      await outboxTxns.finish(sql, { ...txn, room_positions: [3] })
      expect(await outbox.pendingRooms(sql, 'a.test', { shard: -1, roomNid: 0 }, 10, 10)).toEqual(
        [] as never,
      )
      expect((await outbox.pendingServers(sql)).toSorted()).toEqual(['b.test'])
    }))

  test('lists each server once for which something waits', () =>
    rollback(async (sql) => {
      await planted(sql)
      await follow(sql, 0, 3)
      await outboxEdus.add(
        sql,
        ['a.test', 'z.test', 'z.test'].map((server) => ({ server, json: '{}' })),
      )
      expect((await outbox.pendingServers(sql)).toSorted()).toEqual(['a.test', 'b.test', 'z.test'])
    }))

  test('leaves a server that fails for long with the last event of each room', () =>
    rollback(async (sql) => {
      await planted(sql)
      await follow(sql, 0, 3)
      await sql`
        insert into destinations (server, failing_since, failures) values ('a.test', 100, 5)`
      await outboxEdus.add(sql, [{ server: 'a.test', json: '{}' }])
      await outbox.sweep(sql, 101, 50)
      const ofA = await outbox.pendingRooms(sql, 'a.test', { shard: -1, roomNid: 0 }, 10, 10)
      const ofB = await outbox.pendingRooms(sql, 'b.test', { shard: -1, roomNid: 0 }, 10, 10)
      expect([ofA[0]!.positions, ofB[0]!.positions]).toEqual([[3], [1, 2, 3]])
      expect(await outboxEdus.first(sql, 'a.test', 5)).toHaveLength(1)
      await outbox.sweep(sql, 101, 101)
      expect(await outboxEdus.first(sql, 'a.test', 5)).toHaveLength(0)
    }))
})
