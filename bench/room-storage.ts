import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Pool, openPool, withDatabase } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { migrate } from '#store/migrate.ts'

/** Runs a bench on a migrated database of its own, on the embedded PostgreSQL or on DATABASE_URL. */
export async function onDatabase(bench: (pool: Pool) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
  const named = process.env['DATABASE_URL']
  const postgres = named
    ? undefined
    : await startEmbedded({ dataDir: folder, log: pino({ enabled: false }) })
  const url = named ?? postgres!.url
  const database = `laneway_bench_${process.pid}`
  await administer(url, `create database ${database} encoding 'UTF8' template template0`)
  const pool = openPool(withDatabase(url, database), { max: 2 })
  try {
    await migrate(pool, join(import.meta.dir, '../sql'), 'bench')
    await bench(pool)
  } finally {
    await pool.end()
    await administer(url, `drop database ${database}`)
    await postgres?.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function administer(url: string, statement: string): Promise<void> {
  const pool = openPool(withDatabase(url, 'postgres'), { max: 1 })
  await pool.unsafe(statement)
  await pool.end()
}

/** Milliseconds of CPU that the session of a pool of one connection has used, from the kernel. */
export async function sessionMs(sql: Pool): Promise<number> {
  const rows = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database()`
  let ticks = 0
  for (const { pid } of rows) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
  }
  return ticks * 10
}
