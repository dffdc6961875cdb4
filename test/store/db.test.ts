import { expect, test } from 'bun:test'
import {
  booleanArray,
  byteaArray,
  isConflict,
  isConnectionLost,
  isOutOfResources,
  isUniqueViolation,
  openPool,
  withDatabase,
} from '#store/db.ts'
import { rollback, testDatabase } from '#test/database.ts'
import { freePorts } from '#test/laneway.ts'

const db = await testDatabase()

const failure = async (promise: PromiseLike<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('it did not fail')
}

test('numbers, bytes and their arrays come back as they went', async () => {
  const big = Number.MAX_SAFE_INTEGER
  const [row] = await db.pool`
    select ${big}::int8 as big, ${[1, -big]}::int8[] as bigs, ${Buffer.from([0, 255])}::bytea as bytes,
      ${byteaArray(db.pool, [new Uint8Array([92, 34]), Buffer.from('')])}::bytea[] as blobs,
      ${booleanArray(db.pool, [true, false])}::boolean[] as flags, ${['a"\\,', '{}']}::text[] as texts`
  expect(row).toEqual({
    big,
    bigs: [1, -big],
    bytes: Buffer.from([0, 255]),
    blobs: [Buffer.from([92, 34]), Buffer.from('')],
    flags: [true, false],
    texts: ['a"\\,', '{}'],
  })
})

test('a null in an array arrives as null', async () => {
  const [row] = await db.pool`
    select (${byteaArray(db.pool, [Buffer.from('x'), null])}::bytea[])[2] is null as bytes,
      (${booleanArray(db.pool, [null])}::boolean[])[1] is null as flag,
      (${['a', null]}::text[])[2] is null as text`
  expect(row).toEqual({ bytes: true, flag: true, text: true })
})

test('a transaction of a thousand statements is pipelined in order', async () => {
  await db.pool`create table numbers (n integer)`
  await db.pool.begin((sql) =>
    Array.from({ length: 1000 }, (_, n) => sql`insert into numbers values (${n})`),
  )
  const rows = await db.pool<{ n: number }[]>`select n from numbers order by ctid`
  expect(rows.map(({ n }) => n)).toEqual(Array.from({ length: 1000 }, (_, n) => n))
})

test('what was written in a rollback is gone after it', async () => {
  await rollback(async (sql) => {
    await sql`create table passing (n integer)`
  })
  await rollback(async (sql) => {
    expect(await sql`select to_regclass('passing') as name`).toMatchObject([{ name: null }])
  })
})

test('a failure inside a rollback is not swallowed', async () => {
  const error = await failure(rollback(async (sql) => void (await sql`select 1 / 0`)))
  expect(error).toMatchObject({ code: '22012' })
})

test('a second row with the same key is a unique violation and nothing else', async () => {
  await db.pool`create table keys (k integer primary key)`
  const error = await failure(db.pool`insert into keys values (1), (1)`)
  expect(isUniqueViolation(error)).toBe(true)
  expect(isConnectionLost(error) || isOutOfResources(error) || isConflict(error)).toBe(false)
})

test('a connection that the server ends is a lost connection', async () => {
  const pool = openPool(db.url, { max: 1 })
  const ended = failure(pool`select pg_sleep(60)`)
  for (;;) {
    const killed = await db.pool`
      select pg_terminate_backend(pid) from pg_stat_activity where query like 'select pg_sleep(60)%'`
    if (killed.length > 0) break
  }
  expect(isConnectionLost(await ended)).toBe(true)
  // A statement sent before the driver saw the socket close fails likewise; a later one does not.
  await failure(pool`select 1`.then(() => Promise.reject(new Error('already back'))))
  expect(await pool`select 1 as one`).toMatchObject([{ one: 1 }])
  await pool.end()
})

test('a server that is not there is a lost connection', async () => {
  const pool = openPool('postgres://nobody@localhost/none?host=/nowhere', { max: 1 })
  expect(isConnectionLost(await failure(pool`select 1`))).toBe(true)
  const [closed] = await freePorts(1)
  const refused = openPool(`postgres://nobody@127.0.0.1:${closed}/none`, { max: 1 })
  expect(isConnectionLost(await failure(refused`select 1`))).toBe(true)
})

test('a full disk and missing connections are lack of resources', () => {
  for (const code of ['53100', '53300', '53200', 'ENOSPC'])
    expect(isOutOfResources(Object.assign(new Error('full'), { code }))).toBe(true)
  expect(isOutOfResources(Object.assign(new Error('other'), { code: '42601' }))).toBe(false)
  expect(isOutOfResources('53100')).toBe(false)
})

test('another database of the same server keeps socket, user and password', () => {
  expect(withDatabase('postgres://u:p%40@h:1/a?host=%2Fs', 'b c')).toBe(
    'postgres://u:p%40@h:1/b%20c?host=%2Fs',
  )
})
