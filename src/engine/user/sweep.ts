import type { Sql } from '#store/db.ts'
import * as toDevice from '#store/user/to-device.ts'

/** A peer repeats a transaction for as long as it is not answered; a month is more than enough. */
const keepMs = 30 * 24 * 3600 * 1000
const everyMs = 3600 * 1000
const atOnce = 5000

/** Drops what is too old to be of use, in small steps. Answers how many rows. */
export async function sweep(sql: Sql, now: number): Promise<number> {
  let dropped = 0
  for (;;) {
    const count = await toDevice.dropClaims(sql, now - keepMs, atOnce)
    dropped += count
    if (count < atOnce) return dropped
  }
}

/** Sweeps every hour; answers what ends it. */
export function startSweeping(
  sql: Sql,
  clock: () => number,
  onFault: (error: unknown) => void,
): () => void {
  const timer = setInterval(() => void sweep(sql, clock()).catch(onFault), everyMs)
  timer.unref()
  return () => clearInterval(timer)
}
