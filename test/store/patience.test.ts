import { afterAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import {
  type Pool,
  type Sql,
  byteaArray,
  isConnectionLost,
  isOutOfResources,
  openPool,
} from '#store/db.ts'
import { type EmbeddedPostgres, startEmbedded } from '#store/embedded/start.ts'
import { type Patience, openPatientPool } from '#store/patience.ts'
import { silentLog } from '#src/log.ts'
import { newFolder } from '#test/folder.ts'
import { PostgresGate } from '#test/postgres-gate.ts'
import { patienceMs, until } from '#test/until.ts'

/** A PostgreSQL of this file's own, to be stopped and started at will. */
const folder = await newFolder('patience')
let postgres: EmbeddedPostgres
const start = async () => {
  postgres = await startEmbedded({ dataDir: folder, log: silentLog, durable: false })
}
await start()
const plain = openPool(postgres!.url, { max: 2 })
await plain`create table told (n integer primary key)`
afterAll(async () => {
  await plain.end({ timeout: 1 })
  await postgres.stop()
  await rm(folder, { recursive: true })
})

const patient = (more: Partial<Patience> = {}, max = 3) => {
  const pool = openPatientPool(postgres.url, { max }, { waitMs: patienceMs, ...more })
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end({ timeout: 1 }) })
}
const failure = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    () => undefined,
    (error: unknown) => error,
  )
const told = async (): Promise<number[]> => {
  const rows = await plain<{ n: number }[]>`delete from told returning n`
  return rows.map(({ n }) => n).sort((a, b) => a - b)
}
/** Waits until so many sessions run a statement with this text, and ends them. */
const cut = (text: string, sessions = 1) =>
  until(async () => {
    const found = await plain<{ pid: number }[]>`
      select pid from pg_stat_activity
      where state = 'active' and query like ${`${text}%`} and pid <> pg_backend_pid()`
    if (found.length < sessions) return false
    await plain`select pg_terminate_backend(pid) from unnest(${found.map(({ pid }) => pid)}::int[]) pid`
    return true
  })

test('what is asked while the database is stopped is done once, when it is back', async () => {
  const seen: string[] = []
  await using pool = patient({ onAway: () => seen.push('away'), onBack: () => seen.push('back') })
  await pool`select 1`
  await postgres.stop()
  const numbers = Array.from({ length: 40 }, (_, n) => n)
  const asked = Promise.all([
    ...numbers.slice(0, 20).map((n) => pool`insert into told values (${n})`),
    ...numbers.slice(20).map((n) => pool.begin((sql) => sql`insert into told values (${n})`)),
    pool.unsafe('select 1'),
  ])
  await until(() => seen.length > 0)
  await start()
  await asked
  expect(await told()).toEqual(numbers)
  expect(seen).toEqual(['away', 'back'])
})

test('reads and transactions that a restart cuts are run again; writers learn nothing of it', async () => {
  await using pool = patient()
  const [server] = await plain<{ started: string }[]>`
    select pg_postmaster_start_time()::text as started`
  // Takes its time until the restart.
  const pause = (sql: Sql) => sql`
    pg_sleep(case when pg_postmaster_start_time()::text = ${server!.started} then 600 else 0 end)`
  const runs = [0, 0]
  const reading = pool`
    (select 7 as n from ${pause(pool)}) union all (select 8 limit 0)`.execute()
  const writing = runs.map((_, n) =>
    pool.begin(async (sql) => {
      runs[n]!++
      await sql`insert into told values (${n})`
      await sql`select 7 from ${pause(sql)}`
      return n
    }),
  )
  await until(async () => {
    const found = await plain`
      select from pg_stat_activity where state = 'active' and wait_event = 'PgSleep'`
    return found.length === 3
  })
  await postgres.stop()
  await start()
  expect(await reading).toMatchObject([{ n: 7 }])
  expect(await Promise.all(writing)).toEqual([0, 1])
  expect(runs).toEqual([2, 2])
  expect(await told()).toEqual([0, 1])
})

test('what a reset connection cuts is run again once, with the values that it had', async () => {
  using gate = await PostgresGate.open(postgres.url)
  const pool = openPatientPool(gate.url, { max: 3 }, { waitMs: patienceMs })
  await plain`create sequence runs`
  await plain`create table gates (open boolean)`
  // Takes its time until the gate is open.
  const bytes = Buffer.from([0, 1, 255])
  const reading = pool<{ run: number }[]>`
    select nextval('runs') as run, ${bytes}::bytea as bytes,
      ${byteaArray(pool, [bytes])}::bytea[] as blobs, ${[1, 2]}::int[] as numbers,
      pg_sleep(case when exists (select from gates) then 0 else 600 end)
    where ${true}::boolean`.execute()
  await until(async () => {
    const found = await plain`
      select from pg_stat_activity where query like '%runs%' and wait_event = 'PgSleep'`
    return found.length > 0
  })
  await plain`insert into gates values (true)`
  gate.reset()
  expect(await reading).toMatchObject([{ run: 2, bytes, blobs: [bytes], numbers: [1, 2] }])
  // Whatever was sent beside it would be done by now.
  await pool`select 1`
  await pool.end({ timeout: 1 })
  expect(await plain`select nextval('runs') as run`).toMatchObject([{ run: 3 }])
})

test('what may have been done is not done again', async () => {
  await using pool = patient()
  await plain.unsafe(`
    create function slow() returns trigger language plpgsql as
      $$ begin perform pg_sleep(600); return null; end $$;
    create table slowly (n integer);
    create constraint trigger slow after insert on slowly
      deferrable initially deferred for each row execute function slow()`)
  // A write on its own, and a transaction in its commit.
  let runs = 0
  const alone = failure(pool`insert into told select 5 from pg_sleep(600)`)
  const committing = failure(
    pool.begin((sql) => {
      runs++
      return sql`insert into slowly values (1)`
    }),
  )
  await cut('insert into told select 5')
  await cut('commit')
  expect(isConnectionLost(await alone)).toBe(true)
  expect(isConnectionLost(await committing)).toBe(true)
  expect(runs).toBe(1)
  expect(await told()).toEqual([])
  // And the pool goes on.
  expect(await pool`select 1 as one`).toMatchObject([{ one: 1 }])
})

test('what ends its session whenever it runs is given up', async () => {
  await using pool = patient()
  let over = false
  const doomed = failure(pool`select 9 from pg_sleep(600)`).finally(() => {
    over = true
  })
  const victims = new Set<number>()
  await until(async () => {
    const found = await plain<{ pid: number }[]>`
      select pid, pg_terminate_backend(pid) from pg_stat_activity
      where state = 'active' and query like 'select 9 from%'`
    for (const { pid } of found) victims.add(pid)
    return over
  })
  expect(isConnectionLost(await doomed)).toBe(true)
  expect(victims.size).toBe(3)
})

test('a database that stays away is waited for no longer than said, and found again when it is back', async () => {
  const seen: string[] = []
  await using pool = patient({ waitMs: 300, onBack: () => seen.push('back') })
  await pool`select 1`
  await postgres.stop()
  const early = [
    pool`select 1`,
    pool`insert into told values (1)`,
    pool.begin((sql) => sql`select 1`),
  ]
  for (const error of await Promise.all(early.map(failure)))
    expect(isConnectionLost(error)).toBe(true)
  // From now on nobody waits.
  const late = await failure(pool`insert into told values (2)`)
  expect(late).toMatchObject({ name: 'DatabaseAway', code: '57P03' })
  await start()
  await until(() => seen.length > 0)
  await pool`insert into told values (3)`
  expect(await told()).toEqual([3])
})

test('no more than a stated number wait', async () => {
  const away = Promise.withResolvers<unknown>()
  await using pool = patient({ maxWaiting: 5, onAway: away.resolve })
  await postgres.stop()
  const first = failure(pool`select 0`)
  await away.promise
  let refused = 0
  const asked = Array.from({ length: 20 }, async (_, n) => {
    const error = await failure(pool`select ${n}::int as n`)
    if (isConnectionLost(error)) refused++
  })
  await until(() => refused === 16)
  await start()
  expect(await first).toBeUndefined()
  await Promise.all(asked)
  expect(refused).toBe(16)
})

test('no more than a stated number are under way', async () => {
  await using pool = patient({ maxUnderWay: 10 })
  const asked = Array.from({ length: 15 }, () => failure(pool`select 1`))
  const refused = (await Promise.all(asked)).filter((error) => error !== undefined)
  expect(refused.map(isOutOfResources)).toEqual(Array.from({ length: 5 }, () => true))
  expect(await failure(pool.begin((sql) => sql`select 1`))).toBeUndefined()
})

test('who finds no connection left waits for one', async () => {
  await plain.unsafe(`create role few login connection limit 1`)
  const url = postgres.url.replace('postgres://laneway@', 'postgres://few@')
  const pool: Pool = openPatientPool(url, { max: 4 }, { waitMs: patienceMs })
  const asked = Array.from({ length: 8 }, (_, n) =>
    n % 2 ? pool`select ${n}::int as n` : pool.begin((sql) => sql`select ${n}::int as n`),
  )
  const rows = await Promise.all(asked)
  expect(rows.map(([row]) => row!['n'])).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  await pool.end()
})

test('an end lets nobody wait', async () => {
  const away = Promise.withResolvers<unknown>()
  const pool = patient({ onAway: away.resolve })
  await postgres.stop()
  const waiting = [failure(pool`select 1`), failure(pool.begin((sql) => sql`select 1`))]
  await away.promise
  await pool.end({ timeout: 1 })
  for (const error of await Promise.all(waiting)) expect(isConnectionLost(error)).toBe(true)
  expect(await failure(pool`select 1`)).toMatchObject({ code: 'CONNECTION_ENDED' })
  await start()
})
