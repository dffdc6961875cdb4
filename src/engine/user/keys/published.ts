import { parseJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import type { Usage } from '#core/keys/cross-signing.ts'
import { withSignatures } from '#core/keys/signatures.ts'
import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/user/read-keys.ts'

/** What a user has published. */
export type UserKeys = {
  devices: Map<string, { keys: JsonObject; displayName: string | undefined }>
  crossSigning: Partial<Record<Usage, JsonObject>>
  /** The last update of the device list. */
  streamId: number | undefined
}

/** What a viewer has signed of somebody else's keys: by user and key, key IDs and signatures. */
export type OwnSignatures = Map<string, [keyId: string, signature: string][]>

export const newUserKeys = (): UserKeys => ({
  devices: new Map(),
  crossSigning: {},
  streamId: undefined,
})

export const signatureName = (userId: string, key: string) => `${userId} ${key}`

/**
 * What local users have published, in one look, and what the viewer has signed of the keys of
 * `targets`.
 */
export async function readPublished(
  sql: Sql,
  userIds: readonly string[],
  viewer?: string,
  targets: readonly string[] = [],
): Promise<{ users: Map<string, UserKeys>; own: OwnSignatures }> {
  const users = new Map(userIds.map((userId) => [userId, newUserKeys()]))
  const by = viewer === undefined ? undefined : { userId: viewer, shard: shardOf(viewer) }
  const rows = await readKeys.published(
    sql,
    userIds,
    userIds.map((userId) => shardOf(userId)),
    by,
    targets,
  )
  const later: OwnSignatures = new Map()
  const own: OwnSignatures = new Map()
  for (const { kind, user_id: userId, name, json, more, signer } of rows) {
    if (kind !== 'signature') continue
    const signatures = signer === userId ? later : own
    const key = signatureName(userId, name)
    const list = signatures.get(key)
    if (list) list.push([more!, json])
    else signatures.set(key, [[more!, json]])
  }
  for (const { kind, user_id: userId, name, json, more } of rows) {
    const user = users.get(userId)
    if (!user || kind === 'signature') continue
    if (kind === 'list') {
      user.streamId = Number(json)
      continue
    }
    const signatures = later.get(signatureName(userId, name))
    const parsed = parseJson(json) as JsonObject
    const key = signatures ? withSignatures(parsed, userId, signatures) : parsed
    if (kind === 'device') user.devices.set(name, { keys: key, displayName: more ?? undefined })
    else user.crossSigning[kind] = key
  }
  return { users, own }
}

/**
 * A cross-signing key as a viewer may see it: with its owner's signatures, and the viewer's own.
 *
 * Spec: client-server-api/#key-and-signature-security
 */
export function visibleKey(
  key: JsonObject,
  owner: string,
  viewer: string | undefined,
  own: OwnSignatures,
): JsonObject {
  const all = isObject(key['signatures'] ?? null) ? (key['signatures'] as JsonObject) : undefined
  const kept = [owner, viewer].filter((userId) => userId !== undefined && all && userId in all)
  const visible = all
    ? { ...key, signatures: Object.fromEntries(kept.map((userId) => [userId, all[userId!]!])) }
    : key
  const keys = isObject(key['keys'] ?? null) ? Object.values(key['keys'] as JsonObject) : []
  const [publicKey] = keys
  const signatures =
    viewer !== undefined && typeof publicKey === 'string'
      ? own.get(signatureName(owner, publicKey))
      : undefined
  return signatures ? withSignatures(visible, viewer!, signatures) : visible
}

/** A device as others see it: with the name that its user gave it, if they may know it. */
export function visibleDevice(
  { keys, displayName }: { keys: JsonObject; displayName: string | undefined },
  withName: boolean,
): JsonObject {
  if (!withName || displayName === undefined) return keys
  const { unsigned } = keys
  return {
    ...keys,
    unsigned: {
      ...(isObject(unsigned ?? null) ? (unsigned as JsonObject) : {}),
      device_display_name: displayName,
    },
  }
}
