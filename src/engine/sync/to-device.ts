import type { JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { SyncToken } from '#engine/read/sync-token.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/user/read-keys.ts'
import * as toDevice from '#store/user/to-device.ts'
import { type Known, type UserFacts, deviceName } from './user-facts.ts'

/** Messages in one answer. Spec: client-server-api/#send-to-device-messaging */
const maxMessages = 100

export type ToDeviceSection = {
  readonly events: readonly JsonObject[]
  /** Up to here, if there are more than the answer has: for its token. */
  readonly toldTo: number | undefined
}

/**
 * The messages for a device that its client has not got yet, and the end of those that it has: a
 * client that comes with a token has what came with it.
 */
export async function readToDevice(
  sql: Sql,
  userId: string,
  deviceId: string,
  since: SyncToken | undefined,
  vector: Vector,
  limit = maxMessages,
  known?: Known,
): Promise<ToDeviceSection> {
  const shard = shardOf(userId)
  const name = deviceName(userId, deviceId)
  const empty = known?.facts.emptyUpTo.get(name)
  if (empty !== undefined && known?.news.isSame('to_device', empty))
    return { events: [], toldTo: undefined }
  const device = { shard, userId, deviceId }
  const low = since ? (since.toDevice ?? since.users[shard]!) : 0
  const high = vector.users[shard]!
  const most = Math.min(limit, maxMessages)
  const rows = await toDevice.waiting(sql, device, low, high, most + 1)
  if (rows.length === 0) known?.facts.emptyUpTo.set(name, high)
  if (rows[0]?.position === 0) {
    await toDevice.acknowledge(sql, device, low)
    rows.shift()
  }
  const told = rows.slice(0, most)
  return {
    events: told.map(({ sender, type, content }) => ({
      sender,
      type,
      content: JSON.parse(content) as JsonObject,
    })),
    toldTo: rows.length > most ? (told.at(-1)?.position ?? low) : undefined,
  }
}

/** What a device has left to be claimed. */
export type KeySupply = {
  readonly oneTimeKeys: { readonly [algorithm: string]: number }
  readonly unusedFallbacks: readonly string[]
}

/**
 * Whoever changes it takes a position of the user's shard: while that stays, so does the supply.
 *
 * Spec: client-server-api/#e2e-extensions-to-sync
 */
export async function readKeySupply(
  sql: Sql,
  userId: string,
  deviceId: string,
  vector?: Vector,
  facts?: UserFacts,
): Promise<KeySupply> {
  const name = deviceName(userId, deviceId)
  const at = vector?.users[shardOf(userId)]
  const known = facts?.supplies.get(name)
  if (known && at !== undefined && known.at >= at) return known.supply
  // Some clients take a count that is missing for one that has not changed.
  const oneTimeKeys: { [algorithm: string]: number } = { signed_curve25519: 0 }
  const unusedFallbacks: string[] = []
  for (const row of await readKeys.supply(sql, shardOf(userId), userId, deviceId))
    if (row.kind === 'one_time') oneTimeKeys[row.algorithm] = row.count
    else unusedFallbacks.push(row.algorithm)
  const supply = { oneTimeKeys, unusedFallbacks }
  if (at !== undefined) facts?.supplies.set(name, { at, supply })
  return supply
}
