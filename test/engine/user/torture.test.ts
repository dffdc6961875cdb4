import { expect, test } from 'bun:test'
import { UserShards } from '#engine/user/owner.ts'
import { openPool } from '#store/db.ts'
import { openTestDatabase } from '#test/database.ts'

/**
 * Commit order is position order: whoever has read a shard's streams up to p never later finds a row
 * at or below p. Two owners write here, as a take-over or a command beside the running server would;
 * some of their calls fail, some of their connections are cut.
 */
const writersPerOwner = 8
const callsPerWriter = 120

test('readers never find a row at or below a position that they have passed', async () => {
  await using database = await openTestDatabase()
  const pools = [1, 2].map(() => openPool(database.url, { max: 3, name: 'tortured' }))
  const announced = new Map<number, number>()
  const owners = pools.map(
    (pool) =>
      new UserShards(pool, {
        maxBatch: 40,
        onCommit(positions) {
          for (const [shard, position] of positions)
            announced.set(shard, Math.max(announced.get(shard) ?? 0, position))
        },
      }),
  )
  let running = true
  const sql = database.pool

  const read = () =>
    sql<{ shard: number; position: number; type: string }[]>`
      select shard, position, type from account_data
      union all select shard, position, content from to_device`

  /** Reads on from where it was, up to what `upTo` says, and answers how often each row was met. */
  const reader = async (upTo: () => Promise<Map<number, number>>) => {
    const passed = new Map<number, number>()
    const met = new Map<string, number>()
    for (let last = false; ; last = !running) {
      const vector = await upTo()
      for (const { shard, position, type } of await read()) {
        if (position <= (passed.get(shard) ?? 0) || position > (vector.get(shard) ?? 0)) continue
        met.set(type, (met.get(type) ?? 0) + 1)
      }
      for (const [shard, position] of vector) passed.set(shard, position)
      if (last) return met
      await Bun.sleep(1)
    }
  }
  const committed = async () =>
    new Map(
      (
        await sql<{ shard: number; position: number }[]>`select shard, position from user_shards`
      ).map((row) => [row.shard, row.position] as const),
    )
  const readers = [reader(committed), reader(committed), reader(async () => new Map(announced))]

  /** How many calls of each writer were answered; a writer that has ended is no longer here. */
  const answered = new Map<string, number>()
  let cuts = 0
  const cutter = (async () => {
    while (running) {
      const before = new Map(answered)
      const { length } = await sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'tortured' and state <> 'idle'
        order by random() limit 1`
      cuts += length
      // Whatever was under way comes to its end first: a batch whose connections are cut again and
      // again is given up, and how often that is in a second is a question of the machine.
      const isHeld = ([name, count]: [string, number]) => answered.get(name) === count
      do await Bun.sleep(5)
      while (running && length > 0 && [...before].some(isHeld))
    }
  })()

  let failed = 0
  const expected = new Set<string>()
  const writing = Promise.all(
    owners.flatMap((users, o) =>
      Array.from({ length: writersPerOwner }, async (_, w) => {
        const writer = `${o}.${w}`
        answered.set(writer, -1)
        // Eight users and few shards: writers meet.
        const userId = `@w${w % 4}:test`
        await users.call('createSession', userId, {
          deviceId: `D${o}.${w}`,
          tokenHash: crypto.getRandomValues(new Uint8Array(32)),
          createdAt: 1,
        })
        for (let i = 0; i < callsPerWriter; i++) {
          answered.set(writer, i)
          const name = `${o}.${w}.${i}`
          if (i % 20 === 7) {
            await users
              .call('putAccountData', userId, null, `${name}\0`, '{}')
              .catch(() => failed++)
          } else if (i % 3 === 0) {
            await users.call('deliverToDevice', userId, {
              sender: '@x:test',
              type: 't',
              messages: [[`D${o}.${w}`, name]],
            })
            expected.add(name)
          } else {
            await users.call('putAccountData', userId, null, name, '{}')
            expected.add(name)
          }
        }
        answered.delete(writer)
      }),
    ),
  )
  // All others end before the database does, also when a writer fails.
  await writing.finally(async () => {
    running = false
    await Promise.allSettled([cutter, ...readers])
  })
  expect(cuts).toBeGreaterThan(0)
  expect(failed).toBe(2 * writersPerOwner * (callsPerWriter / 20))
  for (const met of await Promise.all(readers)) {
    expect([...met.values()].every((times) => times === 1)).toBe(true)
    expect(new Set(met.keys())).toEqual(expected)
  }
  const rows = await read()
  expect(new Set(rows.map((row) => `${row.shard} ${row.position}`)).size).toBe(rows.length)
  await Promise.all(owners.map((users) => users.close()))
  await Promise.all(pools.map((pool) => pool.end()))
})
