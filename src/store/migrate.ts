import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Pool, type Sql, isConnectionLost } from '#store/db.ts'
import { StartupError } from '#store/startup-error.ts'

/**
 * Brings a database to the schema of this code: `sql/NNNN-name.sql`, forward only, each in its own
 * transaction. Two numbers decide whether code and database fit: the schema version that the code
 * writes (its last file), and the oldest code that may still run on a schema, which each file
 * declares in its header as `-- compat: N`. A newer database whose compat this code reaches is
 * accepted, so that a release can be rolled back.
 */
export type Migration = { version: number; name: string; compat: number; text: string }

export type SchemaState = { version: number; compat: number }

/** Any number will do, as long as no other program takes it in the same database. */
const migrationLock = 0x4c414e45

const oldestPostgres = 150_000

/** Checks the server, then applies what is missing. `release` names this code in refusals of others. */
export async function migrate(pool: Pool, folder: string, release: string): Promise<SchemaState> {
  const migrations = await readMigrations(folder)
  await requireFitting(pool)
  await pool.begin(async (sql) => {
    await lock(sql)
    await sql`
      create table if not exists schema_version (
        version integer primary key,
        compat integer not null,
        name text collate "C" not null,
        release text collate "C" not null,
        applied_at timestamptz not null default now()
      )`
  })
  for (;;) {
    const state = await pool.begin((sql) => step(sql, migrations, release))
    if (state) return state
  }
}

/** Applies the next migration, or answers the state when there is none left. */
async function step(
  sql: Sql,
  migrations: readonly Migration[],
  release: string,
): Promise<SchemaState | undefined> {
  await lock(sql)
  const applied = await sql<{ version: number; compat: number; release: string }[]>`
    select version, compat, release from schema_version order by version`
  const newest = applied.at(-1) ?? { version: 0, compat: 0, release }
  const ours = migrations.length
  if (newest.compat > ours) throw tooNew(newest, applied, ours, release)
  const next = migrations[newest.version]
  if (!next) return { version: newest.version, compat: newest.compat }

  await sql.unsafe(next.text).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`The migration to schema ${next.version}, ${next.name}, failed: ${reason}`, {
      cause: error,
    })
  })
  await sql`
    insert into schema_version (version, compat, name, release)
    values (${next.version}, ${next.compat}, ${next.name}, ${release})`
  return undefined
}

const lock = (sql: Sql) => sql`select pg_advisory_xact_lock(${migrationLock})`

function tooNew(
  newest: { version: number; compat: number; release: string },
  applied: readonly { version: number; release: string }[],
  ours: number,
  release: string,
): StartupError {
  const fitting = applied.find(({ version }) => version === newest.compat)
  return new StartupError(
    `The database is too new for this Laneway: it has schema ${newest.version}, made by release ` +
      `${newest.release}, and needs a release that knows schema ${newest.compat}; this one, ` +
      `${release}, knows schema ${ours}. Releases from ${fitting?.release ?? newest.release} on would work.`,
  )
}

/** Reads and checks the files; their numbers run from 1 without a gap. */
export async function readMigrations(folder: string): Promise<Migration[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.sql')).sort()
  const migrations = await Promise.all(
    files.map(async (file, index) => {
      const [, digits, name] = /^(\d{4})-([a-z0-9-]+)\.sql$/.exec(file) ?? []
      if (!digits || !name || Number(digits) !== index + 1)
        throw new Error(`sql/${file} is not NNNN-name.sql with the next number, ${index + 1}`)
      const text = await readFile(join(folder, file), 'utf8')
      const header = /^(?:--.*\n|\s*\n)*/.exec(text)![0]
      const compat = Number(/^-- compat: (\d+)$/m.exec(header)?.[1])
      if (!(compat >= 1 && compat <= index + 1))
        throw new Error(
          `sql/${file} has no '-- compat: N' with N from 1 to ${index + 1} in its header`,
        )
      return { version: index + 1, name, compat, text }
    }),
  )
  for (const [index, { compat, name }] of migrations.entries())
    if (index > 0 && compat < migrations[index - 1]!.compat)
      throw new Error(`sql: ${name} has a smaller compat than the migration before it`)
  return migrations
}

/** Refuses a server that is too old, read-only or of another encoding. */
async function requireFitting(pool: Pool): Promise<void> {
  const [row] = await pool<
    { number: number; version: string; encoding: string; standby: boolean }[]
  >`
    select current_setting('server_version_num')::int as number,
      current_setting('server_version') as version,
      current_setting('server_encoding') as encoding,
      pg_is_in_recovery() as standby`.catch((error: unknown) => {
    throw unreachable(error)
  })
  requireServer(row!)
}

/** The judgement of `requireFitting`, apart so that it can be tried without an old server. */
export function requireServer(server: {
  number: number
  version: string
  encoding: string
  standby: boolean
}): void {
  if (server.number < oldestPostgres)
    throw new StartupError(
      `PostgreSQL ${server.version} is too old: Laneway needs version 15 or newer`,
    )
  if (server.encoding !== 'UTF8')
    throw new StartupError(
      `The database has the encoding ${server.encoding}, and Laneway needs UTF8: create it with ` +
        `"create database laneway encoding 'UTF8' template template0"`,
    )
  if (server.standby)
    throw new StartupError('The database is a read-only standby: name the primary server')
}

const refusals = new Set(['28000', '28P01', '3D000', '42501', '53300', 'SELF_SIGNED_CERT_IN_CHAIN'])

function unreachable(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (!isConnectionLost(error) && !refusals.has(code)) return error
  const reason = error instanceof Error ? error.message || code : String(error)
  return new StartupError(`The database cannot be reached: ${reason}`, { cause: error })
}
