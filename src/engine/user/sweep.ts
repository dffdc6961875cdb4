import type { Sql } from '#store/db.ts'
import * as backedUpKeys from '#store/user/backed-up-keys.ts'
import * as oneTimeKeys from '#store/user/one-time-keys.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'
import * as threepidValidations from '#store/user/threepid-validations.ts'
import * as toDevice from '#store/user/to-device.ts'
import * as uiaSessions from '#store/user/uia-sessions.ts'
import * as userShards from '#store/user/user-shards.ts'

/** A peer repeats a transaction for as long as it is not answered; a month is more than enough. */
const keepMs = 30 * 24 * 3600 * 1000
const everyMs = 3600 * 1000
/** Nobody asks for the outcome of a commit that long afterwards. */
const keepBatchesMs = 3600 * 1000
const atOnce = 5000

/** Drops what is too old to be of use, in small steps. Answers how many rows. */
export async function sweep(sql: Sql, now: number): Promise<number> {
  let dropped = 0
  for (;;) {
    const counts = [
      await toDevice.dropClaims(sql, now - keepMs, atOnce),
      await oneTimeKeys.dropClaimed(sql, now - keepMs, atOnce),
      await backedUpKeys.dropEnded(sql, atOnce),
      await userShards.dropBatches(sql, now - keepBatchesMs, atOnce),
      await uiaSessions.dropExpired(sql, now, atOnce),
      await threepidValidations.dropExpired(sql, now, atOnce),
      await briefTokens.dropExpired(sql, now, atOnce),
    ]
    for (const count of counts) dropped += count
    if (counts.every((count) => count < atOnce)) return dropped
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
