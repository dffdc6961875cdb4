import { readFile } from 'node:fs/promises'
import type { Pool } from '#store/db.ts'

/** What some work costs: ms until it was done, statements, and processor time in µs. */
export type Cost = { ms: number; statements: number; server: number; postgres: number }

/** Does some work in this process, with the sessions that a pool has. */
export async function costOf<T>(
  sql: Pool,
  work: () => Promise<T>,
): Promise<{ cost: Cost; result: T }> {
  await openAll(sql)
  const sessions = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database()`
  // What follows an answer is no part of what comes next.
  await Bun.sleep(2)
  const before = await backendsUs(sessions)
  let statements = 0
  const settings = sql.options as { debug: unknown }
  settings.debug = () => statements++
  const cpu = process.cpuUsage()
  const start = performance.now()
  try {
    const result = await work()
    const ms = performance.now() - start
    const used = process.cpuUsage(cpu)
    const postgres = (await backendsUs(sessions)) - before
    return { cost: { ms, statements, server: used.user + used.system, postgres }, result }
  } finally {
    settings.debug = false
  }
}

const opened = new WeakSet<Pool>()

/** Opens all sessions of a pool: those that the work would open would not be counted. */
async function openAll(sql: Pool): Promise<void> {
  if (opened.has(sql)) return
  opened.add(sql)
  await Promise.all(Array.from({ length: sql.options.max }, () => sql`select pg_sleep(0.05)`))
}

/** Processor time of sessions of PostgreSQL, in µs; the scheduler counts in nanoseconds. */
async function backendsUs(sessions: readonly { pid: number }[]): Promise<number> {
  const stats = await Promise.all(
    sessions.map(({ pid }) => readFile(`/proc/${pid}/schedstat`, 'utf8').catch(() => '0')),
  )
  return stats.reduce((sum, stat) => sum + Number(stat.split(' ')[0]) / 1000, 0)
}
