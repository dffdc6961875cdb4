import type { JsonObject } from '#core/json.ts'
import { storedKey } from '#core/keys/signatures.ts'
import type { Sql } from '#store/db.ts'
import * as outboxEdus from '#store/federation/outbox-edus.ts'
import * as pushQueue from '#store/push/queue.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as dehydratedDevices from '#store/user/dehydrated-devices.ts'
import * as deviceKeys from '#store/user/device-keys.ts'
import * as deviceLists from '#store/user/device-lists.ts'
import * as fallbackKeys from '#store/user/fallback-keys.ts'
import * as keySignatures from '#store/user/key-signatures.ts'
import * as oneTimeKeys from '#store/user/one-time-keys.ts'
import * as pushers from '#store/user/pushers.ts'
import type { Commit } from './writer.ts'

type Place = { shard: number; userId: string; position: number }
export type DeviceChange = Place & { deviceId: string; gone?: boolean }

/**
 * Tells of devices of local users that are new, gone, or have another name or other keys: local users
 * by the position, other servers by an EDU for each device. For every writer that changes devices, in
 * the commit that does.
 *
 * Spec: server-server-api/#device-management
 */
export async function announceDevices(
  sql: Sql,
  changes: readonly DeviceChange[],
  commit: Commit,
): Promise<void> {
  if (changes.length === 0) return
  const there = changes.filter(({ gone }) => !gone)
  const [streams, devices] = await Promise.all([
    deviceLists.streams(sql, ...usersOf(changes)),
    there.length > 0 ? deviceKeys.find(sql, there) : [],
  ])
  const lists = new Map(streams.map((row) => [row.user_id, row.stream_id]))
  const known = new Map(devices.map((row) => [JSON.stringify([row.user_id, row.device_id]), row]))
  const edus: { userId: string; json: string }[] = []
  const rows = new Map<string, deviceLists.ListRow>()
  for (const { shard, userId, position, deviceId, gone } of changes) {
    const device = known.get(JSON.stringify([userId, deviceId]))
    if (!gone && !device) continue
    const before = lists.get(userId)
    const streamId = (before ?? 0) + 1
    lists.set(userId, streamId)
    rows.set(userId, { shard, userId, streamId, position })
    const content: JsonObject = {
      user_id: userId,
      device_id: deviceId,
      stream_id: streamId,
      prev_id: before === undefined ? [] : [before],
      ...(device ? describeDevice(device, commit.deviceNames) : { deleted: true }),
    }
    edus.push({ userId, json: JSON.stringify({ edu_type: 'm.device_list_update', content }) })
  }
  await tell(sql, [...rows.values()], edus, commit)
}

/** A device as other servers are told of it. */
export function describeDevice(device: deviceKeys.KnownDevice, withName: boolean): JsonObject {
  const { user_id: userId, display_name: name, json, signatures } = device
  return {
    ...(withName && name !== null && { device_display_name: name }),
    ...(json !== null && { keys: storedKey(json, userId, signatures) }),
  }
}

/** Tells of cross-signing keys of local users that are new, or newly signed, likewise. */
export async function announceSigningKeys(
  sql: Sql,
  places: readonly Place[],
  commit: Commit,
): Promise<void> {
  if (places.length === 0) return
  const users = usersOf(places)
  const [streams, keys] = await Promise.all([
    deviceLists.streams(sql, ...users),
    crossSigningKeys.listSigned(sql, ...users),
  ])
  const lists = new Map(streams.map((row) => [row.user_id, row.stream_id]))
  const rows = new Map<string, deviceLists.ListRow>()
  for (const { shard, userId, position } of places)
    rows.set(userId, { shard, userId, streamId: lists.get(userId) ?? 0, position })
  const edus = [...rows.keys()].map((userId) => {
    const content: JsonObject = { user_id: userId }
    for (const { user_id, usage, json, signatures } of keys)
      if (user_id === userId && usage !== 'user_signing')
        content[`${usage}_key`] = storedKey(json, userId, signatures)
    return { userId, json: JSON.stringify({ edu_type: 'm.signing_key_update', content }) }
  })
  await tell(sql, [...rows.values()], edus, commit)
}

async function tell(
  sql: Sql,
  rows: readonly deviceLists.ListRow[],
  edus: readonly { userId: string; json: string }[],
  commit: Commit,
): Promise<void> {
  if (rows.length === 0) return
  const [, servers] = await Promise.all([
    deviceLists.put(sql, rows),
    outboxEdus.addForSharing(sql, edus),
  ])
  for (const server of servers) commit.outbox.add(server)
}

/** Drops what devices have published and set up, and tells that they are gone. */
export async function dropDevices(
  sql: Sql,
  devices: readonly (Place & { deviceId: string })[],
  commit: Commit,
): Promise<void> {
  if (devices.length === 0) return
  await Promise.all([
    deviceKeys.remove(sql, devices),
    oneTimeKeys.remove(sql, devices),
    fallbackKeys.remove(sql, devices),
    keySignatures.removeOf(sql, devices),
    dehydratedDevices.remove(sql, devices),
    pushers.removeOf(sql, devices).then((gone) => pushQueue.dropOf(sql, gone)),
    announceDevices(
      sql,
      devices.map((device) => ({ ...device, gone: true })),
      commit,
    ),
  ])
}

const usersOf = (places: readonly Place[]): [userIds: string[], shards: number[]] => [
  places.map(({ userId }) => userId),
  places.map(({ shard }) => shard),
]
