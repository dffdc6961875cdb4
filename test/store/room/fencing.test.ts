import { describe, expect, test } from 'bun:test'
import type { RoomPart } from '#store/room/batch.ts'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { openPool } from '#store/db.ts'
import { commit, isLeaseLost, isOvertaken } from '#store/room/commit.ts'
import { outcomeOf, takeOver } from '#store/room/shards.ts'
import { Owner, failure, next } from './fixtures.ts'

const db = await testDatabase()
const sql = db.pool

/** Whether the commit is several statements or a single one. */
const kinds = ['a transaction', 'a statement'] as const

describe('fencing', () => {
  test.each(kinds)('of an owner whose shard was taken over, %s fails', async (kind) => {
    const old = await Owner.of(sql, [10])
    const room = old.room(10)
    old.event(room)
    await old.commit(room)
    const late = await roomFor(kind, old, 10)
    const [taken] = await takeOver(sql, [10], 'another')
    expect(taken!.epoch).toBe(old.shard(10).epoch + 1)
    expect(taken!.position).toBe(old.shard(10).position)
    old.event(late)
    const error = await failure(commit(sql, old.batch(late)))
    expect(isLeaseLost(error)).toBeTrue()
  })

  test.each(kinds)('a takeover waits for %s that runs, and counts it in', async (kind) => {
    const old = await Owner.of(sql, [11])
    const room = await roomFor(kind, old, 11)
    old.event(room)
    await using held = await hold(room)
    const running = old.commit(room)
    await held.up()
    let over = false
    const takeover = takeOver(sql, [11], 'another').then((shards) => {
      over = true
      return shards
    })
    await waiting('room_shard_leases')
    expect(over).toBeFalse()
    await held.release()
    await running
    expect((await takeover)[0]!.position).toBe(old.shard(11).position)
  })

  test.each(kinds)('%s runs beside one of other shards', async (kind) => {
    const [a, b] = [await Owner.of(sql, [12]), await Owner.of(sql, [13])]
    const [slow, quick] = [await roomFor(kind, a, 12), await roomFor(kind, b, 13)]
    await using held = await hold(slow)
    const running = a.commit(slow)
    await held.up()
    await b.commit(quick)
    await held.release()
    await running
  })

  test.each(kinds)('%s that does not follow the last one fails', async (kind) => {
    const mine = await Owner.of(sql, [14])
    const room = mine.room(14)
    await mine.commit(room)
    const stale = mine.batch(await roomFor(kind, mine, 14))
    await mine.commit(next(room))
    expect(isOvertaken(await failure(commit(sql, stale)))).toBeTrue()
  })
})

describe('an unknown outcome', () => {
  test('is committed if the batch was', async () => {
    const mine = await Owner.of(sql, [20, 21])
    const batch = await mine.commit(mine.room(20), mine.room(21))
    const outcome = await outcomeOf(sql, [21, 20], batch.id)
    expect(outcome.committed).toBeTrue()
    expect(outcome.shards.map(({ position }) => position)).toEqual([0, 0])
  })

  test.each(kinds)('is waited for while %s runs', async (kind) => {
    const mine = await Owner.of(sql, [22])
    const room = await roomFor(kind, mine, 22)
    await using held = await hold(room)
    const batch = mine.batch(room)
    const running = commit(sql, batch)
    await held.up()
    const asked = outcomeOf(sql, [22], batch.id)
    await waiting('room_shards')
    await held.release()
    expect((await asked).committed).toBeTrue()
    await running
  })

  test.each(kinds)('once said to be failed, %s cannot succeed any more', async (kind) => {
    const mine = await Owner.of(sql, [23])
    const room = await roomFor(kind, mine, 23)
    const batch = mine.batch(room)
    const outcome = await outcomeOf(sql, [23], batch.id)
    expect(outcome.committed).toBeFalse()
    expect(isOvertaken(await failure(commit(sql, batch)))).toBeTrue()
    mine.shard(23).reset(outcome.shards[0]!)
    await mine.commit(mine.room(23))
  })

  test.each(kinds)('is failed, with nothing written, when %s is cut off', async (kind) => {
    const mine = await Owner.of(sql, [24])
    const pool = openPool(db.url, { max: 1, name: 'to-be-cut' })
    const room = await roomFor(kind, mine, 24)
    const { position, counter } = mine.shard(24)
    const event = mine.event(room)
    await using held = await hold(room)
    const batch = mine.batch(room)
    const running = failure(commit(pool, batch))
    await held.up()
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'to-be-cut'`
    await running
    await held.release()
    const outcome = await outcomeOf(sql, [24], batch.id)
    expect(outcome.committed).toBeFalse()
    expect(outcome.shards[0]).toMatchObject({
      position,
      counter: kind === 'a transaction' ? 0 : counter,
    })
    expect(
      await sql`select 1 from events where event_nid = ${event.eventNid} and shard = 24`,
    ).toHaveLength(0)
    // The pool connects again by itself, and knows nothing of the old session.
    mine.shard(24).reset(outcome.shards[0]!)
    await commit(pool, mine.batch(mine.room(24)))
    await pool.end({ timeout: 0 })
  })
})

/** A part that is committed in this way. */
async function roomFor(kind: (typeof kinds)[number], owner: Owner, shard: number) {
  const created = owner.room(shard)
  if (kind === 'a transaction') return created
  await owner.commit(created)
  return next(created)
}

/** Holds the commit of a part up, after it has locked its leases and counters. */
async function hold({ shard, inbox: rows }: RoomPart) {
  const [row] = await sql<{ inbox_id: number }[]>`
    insert into inbox (shard, room_id, origin, json, received_at)
    values (${shard}, '!held:a.example', 'a.example', '{}', 0) returning inbox_id`
  const id = row!.inbox_id
  rows.push(id)
  const pool = openPool(db.url, { max: 1, name: 'holder' })
  const released = Promise.withResolvers<null>()
  const locked = Promise.withResolvers<number>()
  const session = pool.begin(async (sql) => {
    const [row] = await sql<{ pid: number }[]>`
      select pg_backend_pid() as pid from inbox where inbox_id = ${id} for update`
    locked.resolve(row!.pid)
    await released.promise
  })
  const pid = await locked.promise
  const release = async () => {
    released.resolve(null)
    await session
    await pool.end()
  }
  const up = () =>
    until(async () => {
      const held = await sql`
        select from pg_stat_activity a where ${pid}::int = any(pg_blocking_pids(a.pid))`
      return held.length > 0
    })
  return { up, release, [Symbol.asyncDispose]: release }
}

/** Until a session waits for a lock in a statement that names the table. */
const waiting = (table: string) =>
  until(async () => {
    const rows = await sql`
      select 1 from pg_stat_activity
      where wait_event_type = 'Lock' and query like ${`%${table}%`} and pid <> pg_backend_pid()
        and datname = current_database()`
    return rows.length > 0
  })
