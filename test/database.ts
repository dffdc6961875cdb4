import { afterAll } from 'bun:test'
import { pino } from 'pino'
import { type Pool, type Sql, openPool, withDatabase } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { migrate } from '#store/migrate.ts'
import { newFolder } from '#test/folder.ts'

/**
 * One PostgreSQL per run of `bun test`, started when a test first needs it: an embedded one that
 * forgets everything at the end, or the server named by TEST_DATABASE_URL or DATABASE_URL, whose
 * user must be allowed to create databases.
 */
export type TestDatabase = {
  /** For whoever opens a pool of their own, such as a worker. */
  url: string
  pool: Pool
  /** Ends the pool and drops the database, even if others are still connected. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Server = { url: string; strategy: string; stop(): Promise<void> }

const prefix = `laneway_test_${process.pid}`
const sqlFolder = Bun.fileURLToPath(new URL('../sql', import.meta.url))

let server: Promise<Server> | undefined
let template: Promise<string> | undefined
let shared: Promise<TestDatabase> | undefined
let count = 0

/**
 * A migrated database of the calling test file's own, dropped after the file's last test. Call it at
 * the top of the file: `const db = await testDatabase()`.
 */
export async function testDatabase(): Promise<TestDatabase> {
  const database = await openTestDatabase()
  afterAll(() => database.close())
  return database
}

/** The same for a part of a test: `await using db = await openTestDatabase()`. */
export async function openTestDatabase(): Promise<TestDatabase> {
  template ??= makeTemplate()
  return createDatabase(`template ${await template}`)
}

/** A database without a schema, for tests of migrations. */
export const openEmptyDatabase = (options = "encoding 'UTF8' template template0") =>
  createDatabase(options)

/** Runs `body` in a transaction that is always undone. */
export async function rollback(body: (sql: Sql) => Promise<void>): Promise<void> {
  shared ??= openTestDatabase()
  const undo = Symbol('undo')
  const ended = (await shared).pool.begin(async (sql) => {
    await body(sql)
    throw undo
  })
  await ended.catch((thrown: unknown) => {
    if (thrown !== undo) throw thrown
  })
}

/** Stops what this run started; test/setup.ts calls it after the last file. */
export async function stopTestDatabases(): Promise<void> {
  const running = await server?.catch(() => undefined)
  if (!running) return
  // Whoever asked for one that could not be made was told so.
  await (await shared?.catch(() => undefined))?.close()
  if (template) await administer(running.url, `drop database if exists ${prefix}_template`)
  await running.stop()
  server = template = shared = undefined
}

async function createDatabase(options: string): Promise<TestDatabase> {
  server ??= startServer()
  const { url: serverUrl, strategy } = await server
  const name = `${prefix}_${++count}`
  await administer(serverUrl, `create database ${name} ${options} ${strategy}`)
  const url = withDatabase(serverUrl, name)
  const pool = openPool(url, { max: 8, name: 'laneway-test' })
  let closing: Promise<void> | undefined
  const close = () =>
    (closing ??= (async () => {
      await pool.end({ timeout: 1 })
      await administer(serverUrl, `drop database if exists ${name} with (force)`)
    })())
  return { url, pool, close, [Symbol.asyncDispose]: close }
}

async function makeTemplate(): Promise<string> {
  server ??= startServer()
  const { url } = await server
  const name = `${prefix}_template`
  await administer(url, `create database ${name} encoding 'UTF8' template template0`)
  const pool = openPool(withDatabase(url, name), { max: 1 })
  try {
    await migrate(pool, sqlFolder, 'test')
  } finally {
    await pool.end()
  }
  return name
}

async function startServer(): Promise<Server> {
  const named = process.env['TEST_DATABASE_URL'] ?? process.env['DATABASE_URL']
  if (named) return { url: named, strategy: '', stop: async () => {} }
  const log = pino({ level: 'error' }, pino.destination({ dest: 2, sync: true }))
  const dataDir = await newFolder('database')
  const postgres = await startEmbedded({ dataDir, log, durable: false, maxConnections: 300 })
  return {
    url: postgres.url,
    // 10 ms a database instead of 100, where files cost nothing.
    strategy: 'strategy file_copy',
    stop: () => postgres.stop(),
  }
}

async function administer(url: string, statement: string): Promise<void> {
  const sql = openPool(withDatabase(url, 'postgres'), { max: 1 })
  try {
    await sql.unsafe(statement)
  } finally {
    await sql.end()
  }
}
