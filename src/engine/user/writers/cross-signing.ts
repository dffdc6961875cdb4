import { MatrixError } from '#core/error.ts'
import type { CheckedSignature } from '#core/keys/check-signatures.ts'
import type { Usage } from '#core/keys/cross-signing.ts'
import type { Sql } from '#store/db.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as devices from '#store/user/devices.ts'
import * as keySignatures from '#store/user/key-signatures.ts'
import { announceDevices, announceSigningKeys } from './device-lists.ts'
import {
  type CallsOf,
  type Commit,
  type Results,
  type UserLanded,
  type Writers,
  lastOf,
} from './writer.ts'

export type NewSigningKeys = {
  /** JSON texts. A master key that is replaced takes along those that it signed. */
  keys: { usage: Usage; publicKey: string; json: string }[]
  /** The master key that there was when the user was asked for consent. */
  before: string | null
}

/** Cross-signing. */
export type CrossSigningCalls = {
  /** 403 if a device has the name of a key, 409 if the master key changed meanwhile. */
  putSigningKeys: (userId: string, keys: NewSigningKeys) => UserLanded
  /** Signatures by the user, that are checked. */
  addSignatures: (userId: string, signatures: CheckedSignature[]) => UserLanded
}

export const crossSigningWriters: Writers<CrossSigningCalls> = {
  putSigningKeys: { write: putSigningKeys, many: false },
  addSignatures: { write: addSignatures, many: false },
}

async function putSigningKeys(
  sql: Sql,
  calls: CallsOf<CrossSigningCalls['putSigningKeys']>,
  commit: Commit,
): Promise<Results<CrossSigningCalls['putSigningKeys']>> {
  const userIds = calls.map(({ userId }) => userId)
  const shards = calls.map(({ shard }) => shard)
  const [stored, owned] = await Promise.all([
    crossSigningKeys.list(sql, userIds, shards),
    devices.listAll(sql, shards, userIds),
  ])
  const faults: Results<CrossSigningCalls['putSigningKeys']> = new Map()
  const good = calls.filter(({ userId, args: [{ keys, before }] }, index) => {
    const master = stored.find((row) => row.user_id === userId && row.usage === 'master')
    const names = new Set(owned.flatMap((row) => (row.user_id === userId ? [row.device_id] : [])))
    const fault =
      (master?.public_key ?? null) !== before
        ? new MatrixError(409, 'M_UNKNOWN', 'The master key has changed meanwhile')
        : keys.some(({ publicKey }) => names.has(publicKey))
          ? new MatrixError(403, 'M_FORBIDDEN', 'Key ID in use: one of the devices has it')
          : undefined
    if (fault) faults.set(index, fault)
    return !fault
  })
  const replaced = good.flatMap(({ shard, userId, args: [{ keys }] }) =>
    stored
      .filter((row) => row.user_id === userId)
      .filter((row) => isReplaced(row, keys))
      .map((row) => ({ shard, userId, usage: row.usage, keyId: `ed25519:${row.public_key}` })),
  )
  const rows = good.flatMap(({ shard, userId, args: [{ keys }] }) =>
    keys.map((key) => ({ shard, userId, ...key })),
  )
  await Promise.all([
    ...(replaced.length > 0
      ? [keySignatures.removeBy(sql, replaced), crossSigningKeys.removeSome(sql, replaced)]
      : []),
    ...(rows.length > 0 ? [crossSigningKeys.put(sql, rows)] : []),
  ])
  await announceSigningKeys(sql, good, commit)
  return faults
}

/** A key goes when another takes its place, or when the master key that signed it does. */
function isReplaced(
  row: crossSigningKeys.StoredKey,
  keys: readonly { usage: Usage; publicKey: string }[],
): boolean {
  const next = keys.find(({ usage }) => usage === row.usage)
  if (next) return next.publicKey !== row.public_key
  return keys.some(({ usage }) => usage === 'master') && row.usage !== 'master'
}

async function addSignatures(
  sql: Sql,
  calls: CallsOf<CrossSigningCalls['addSignatures']>,
  commit: Commit,
): Promise<void> {
  const rows = calls.flatMap(({ shard, userId: signer, position, args: [signatures] }) =>
    signatures.map((signature) => ({ shard, signer, position, ...signature })),
  )
  if (rows.length === 0) return
  await keySignatures.put(
    sql,
    lastOf(rows, (row) => [row.signer, row.targetUser, row.targetKey, row.keyId]),
  )
  // Over their own keys: everybody may know. Others' are news to the signer alone, by the position.
  const own = rows.filter(({ signer, targetUser }) => signer === targetUser)
  const [signed, keys] = await Promise.all([
    deviceTargets(sql, own),
    crossSigningKeys.list(
      sql,
      own.map(({ signer }) => signer),
      own.map(({ shard }) => shard),
    ),
  ])
  const masters = new Set(
    keys.filter((key) => key.usage === 'master').map((key) => `${key.user_id} ${key.public_key}`),
  )
  const mastered = own.filter(({ signer, targetKey }) => masters.has(`${signer} ${targetKey}`))
  await announceDevices(sql, signed, commit)
  await announceSigningKeys(
    sql,
    mastered.map(({ shard, signer: userId, position }) => ({ shard, userId, position })),
    commit,
  )
}

/** The devices among what users signed of their own. */
async function deviceTargets(
  sql: Sql,
  own: readonly { shard: number; signer: string; targetKey: string; position: number }[],
) {
  const found = await devices.listAll(
    sql,
    own.map(({ shard }) => shard),
    own.map(({ signer }) => signer),
  )
  const names = new Set(found.map((row) => `${row.user_id} ${row.device_id}`))
  return lastOf(
    own
      .filter(({ signer, targetKey }) => names.has(`${signer} ${targetKey}`))
      .map(({ shard, signer: userId, targetKey: deviceId, position }) => ({
        shard,
        userId,
        deviceId,
        position,
      })),
    (device) => [device.userId, device.deviceId],
  )
}
