import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Pool, openPool, planOnce, withDatabase } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { migrate } from '#store/migrate.ts'
import { silentLog } from '#src/log.ts'

/** What CPU one PDU costs where nothing is done but what must be: architecture, primitives. */
export const floorUs = 120

/** A migrated, durable database for one bench, and what its PostgreSQL has used of the processor. */
export type Stand = { pool: Pool; url: string; postgresUs: () => Promise<number> }

/**
 * Gives `run` a database: of an embedded PostgreSQL, or of the one that DATABASE_URL names. With our
 * tables in it, or empty for a server that makes its own. `quick` leaves out what only times need.
 */
export async function withStand(
  run: (stand: Stand) => Promise<void>,
  { empty = false, quick = false }: { empty?: boolean; quick?: boolean } = {},
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
  const named = process.env['DATABASE_URL']
  const postgres = named ? undefined : await startEmbedded({ dataDir: folder, log: silentLog })
  const serverUrl = named ?? postgres!.url
  const name = `laneway_bench_${process.pid}${empty ? '_empty' : ''}`
  const sorted = empty ? "locale_provider libc lc_collate 'C' lc_ctype 'C'" : ''
  await administer(
    serverUrl,
    `create database ${name} encoding 'UTF8' ${sorted} template template0`,
  )
  const url = withDatabase(serverUrl, name)
  const pool = openPool(url, { max: 8, name: 'laneway-bench', session: planOnce })
  try {
    if (!empty) await migrate(pool, join(import.meta.dir, '../sql'), 'bench')
    const [row] = await pool<{ pid: number }[]>`select pg_backend_pid() as pid`
    const postmaster = await parentOf(row!.pid)
    if (!named && !quick) await fillLog(pool)
    await run({ pool, url, postgresUs: () => familyUs(postmaster) })
  } finally {
    await pool.end()
    await administer(serverUrl, `drop database ${name} with (force)`)
    await postgres?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * A server that has run for a while writes its log into files that it has used before; a new one makes
 * each and fills it with zeros, which costs a message 5 µs.
 */
async function fillLog(pool: Pool): Promise<void> {
  for (let file = 0; file < 32; file++) {
    await pool`select pg_logical_emit_message(false, 'bench', 'for another file')`
    await pool`select pg_switch_wal()`
  }
  await pool`checkpoint`
}

async function administer(url: string, statement: string): Promise<void> {
  const sql = openPool(withDatabase(url, 'postgres'), { max: 1 })
  await sql.unsafe(statement)
  await sql.end()
}

/** Processor time of a process, all its children, and those that have ended, in µs. */
export async function familyUs(pid: number): Promise<number> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const stats = await Promise.all(names.map((each) => statOf(each)))
  const times = await Promise.all(
    names.map(async (each, index) => {
      const stat = stats[index]
      if (each === pid) return (await processUs(each)) + ticksUs(stat, [13, 14])
      return stat?.[1] === String(pid) ? processUs(each) : 0
    }),
  )
  return times.reduce((sum, us) => sum + us, 0)
}

/** Processor time of one process, all its threads, in µs; the kernel counts in 10 ms. */
export async function processUs(pid: number): Promise<number> {
  return ticksUs(await statOf(pid), [11, 12])
}

/** The same of its first thread alone, in ns and exactly: all that a session of PostgreSQL is. */
export const processNs = async (pid: number): Promise<number> =>
  Number((await readFile(`/proc/${pid}/schedstat`, 'utf8')).split(' ')[0])

const ticksUs = (stat: string[] | undefined, fields: readonly number[]) =>
  fields.reduce((sum, field) => sum + Number(stat?.[field] ?? 0), 0) * 10_000

async function parentOf(pid: number): Promise<number> {
  return Number((await statOf(pid))?.[1])
}

/** The fields of /proc/PID/stat from the third on: the second, a name, may hold blanks. */
async function statOf(pid: number): Promise<string[] | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')
}

/** The value below which this share of sorted values lies. */
export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
