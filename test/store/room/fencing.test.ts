import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { openPool } from '#store/db.ts'
import { commit, isLeaseLost, isOvertaken } from '#store/room/commit.ts'
import { outcomeOf, takeOver } from '#store/room/shards.ts'
import { Owner, failure, next } from './fixtures.ts'

const db = await testDatabase()
const sql = db.pool

describe('fencing', () => {
  test('an owner whose shard was taken over commits no more', async () => {
    const old = await Owner.of(sql, [10])
    const room = old.room(10)
    old.event(room)
    await old.commit(room)
    const [taken] = await takeOver(sql, [10], 'another')
    expect(taken!.epoch).toBe(old.shard(10).epoch + 1)
    expect(taken!.position).toBe(old.shard(10).position)
    const late = next(room)
    old.event(late)
    const error = await failure(commit(sql, old.batch(late)))
    expect(isLeaseLost(error)).toBeTrue()
  })

  test('a takeover waits for a commit that runs, and counts it in', async () => {
    const old = await Owner.of(sql, [11])
    const room = old.room(11)
    old.event(room)
    // The commit is held up by a lock on a table that it writes last.
    await using held = await hold('inbox')
    room.inbox.push(1)
    const running = old.commit(room)
    await waiting('inbox')
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

  test('batches over disjoint shards run at once', async () => {
    const [a, b] = [await Owner.of(sql, [12]), await Owner.of(sql, [13])]
    const [slow, quick] = [a.room(12), b.room(13)]
    slow.inbox.push(1)
    await using held = await hold('inbox')
    const running = a.commit(slow)
    await waiting('inbox')
    await b.commit(quick)
    await held.release()
    await running
  })

  test('a batch that does not follow the last one fails', async () => {
    const mine = await Owner.of(sql, [14])
    const room = mine.room(14)
    await mine.commit(room)
    const stale = mine.batch(next(room))
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

  test('is waited for while the commit runs', async () => {
    const mine = await Owner.of(sql, [22])
    const room = mine.room(22)
    room.inbox.push(1)
    await using held = await hold('inbox')
    const batch = mine.batch(room)
    const running = commit(sql, batch)
    await waiting('inbox')
    const asked = outcomeOf(sql, [22], batch.id)
    await waiting('room_shards')
    await held.release()
    expect((await asked).committed).toBeTrue()
    await running
  })

  test('once said to be failed, cannot succeed any more', async () => {
    const mine = await Owner.of(sql, [23])
    const room = mine.room(23)
    const batch = mine.batch(room)
    const outcome = await outcomeOf(sql, [23], batch.id)
    expect(outcome.committed).toBeFalse()
    expect(isOvertaken(await failure(commit(sql, batch)))).toBeTrue()
    mine.shard(23).reset(outcome.shards[0]!)
    await mine.commit(mine.room(23))
  })

  test('is failed, with nothing written, when the connection is cut in the middle', async () => {
    const mine = await Owner.of(sql, [24])
    const pool = openPool(db.url, { max: 1, name: 'to-be-cut' })
    const room = mine.room(24)
    const event = mine.event(room)
    room.inbox.push(1)
    await using held = await hold('inbox')
    const batch = mine.batch(room)
    const running = failure(commit(pool, batch))
    await waiting('inbox')
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'to-be-cut'`
    await running
    await held.release()
    const outcome = await outcomeOf(sql, [24], batch.id)
    expect(outcome.committed).toBeFalse()
    expect(outcome.shards[0]).toMatchObject({ position: 0, counter: 0 })
    expect(
      await sql`select 1 from events where event_nid = ${event.eventNid} and shard = 24`,
    ).toHaveLength(0)
    // The pool connects again by itself, and knows nothing of the old session.
    mine.shard(24).reset(outcome.shards[0]!)
    await commit(pool, mine.batch(mine.room(24)))
    await pool.end({ timeout: 0 })
  })
})

/** Locks a table in a session of its own. */
async function hold(table: string) {
  const pool = openPool(db.url, { max: 1, name: 'holder' })
  const released = Promise.withResolvers<null>()
  const locked = Promise.withResolvers<null>()
  const session = pool.begin(async (sql) => {
    await sql`lock table ${sql(table)} in access exclusive mode`
    locked.resolve(null)
    await released.promise
  })
  await locked.promise
  const release = async () => {
    released.resolve(null)
    await session
    await pool.end()
  }
  return { release, [Symbol.asyncDispose]: release }
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
