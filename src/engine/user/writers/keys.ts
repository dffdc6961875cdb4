import { parseJson } from '#core/canonical-json.ts'
import { MatrixError, unknownToken } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import type { OneTimeKey } from '#core/keys/one-time-keys.ts'
import type { Sql } from '#store/db.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as deviceKeys from '#store/user/device-keys.ts'
import * as fallbackKeys from '#store/user/fallback-keys.ts'
import * as oneTimeKeys from '#store/user/one-time-keys.ts'
import { announceDevices } from './device-lists.ts'
import type { CallsOf, Commit, Placed, Results, UserLanded, Writers } from './writer.ts'

export type UploadedKeys = {
  deviceId: string
  /** JSON text; left out if they stay. */
  deviceKeys?: string
  oneTimeKeys: OneTimeKey[]
  /** One for each algorithm. */
  fallbackKeys: OneTimeKey[]
}

export type WantedKey = readonly [deviceId: string, algorithm: string]
export type ClaimedKey = readonly [deviceId: string, algorithm: string, keyId: string, json: string]

/** What devices publish for encryption. */
export type KeyCalls = {
  /** Answers how many one-time keys of each algorithm the device has left. */
  uploadKeys: (
    userId: string,
    keys: UploadedKeys,
  ) => UserLanded & { counts: { [algorithm: string]: number } }
  /** Gives keys out: each one-time key once, then the fallback key. What has none is left out. */
  claimKeys: (
    userId: string,
    wanted: WantedKey[],
    at: number,
  ) => UserLanded & { keys: ClaimedKey[] }
}

export const keyWriters: Writers<KeyCalls> = {
  uploadKeys: { write: uploadKeys, many: false },
  claimKeys: { write: claimKeys, many: true },
}

/** Not spec: one-time keys that a device may have waiting. Clients keep fifty. */
const maxOneTimeKeys = 1000

type Upload = Placed<[UploadedKeys]> & { deviceId: string; index: number }

/** Spec: client-server-api/#uploading-keys */
async function uploadKeys(
  sql: Sql,
  calls: CallsOf<KeyCalls['uploadKeys']>,
  commit: Commit,
): Promise<Results<KeyCalls['uploadKeys']>> {
  const results: Results<KeyCalls['uploadKeys']> = new Map()
  const uploads = calls.map((call, index) => ({ ...call, deviceId: call.args[0].deviceId, index }))
  const [devices, stored, counts, namesakes] = await Promise.all([
    deviceKeys.find(sql, uploads),
    oneTimeKeys.find(sql, uploads.flatMap(namedKeys)),
    oneTimeKeys.counts(sql, uploads),
    crossSigningKeys.namesakes(sql, uploads),
  ])
  const device = new Map(devices.map((row) => [row.user_id, row]))
  const clashing = new Set(namesakes.map((row) => row.user_id))
  const good = uploads.filter((upload) => {
    const { userId, index } = upload
    const known = isReborn(upload, device.get(userId)) ? [] : [userId]
    const own = stored.filter((row) => known.includes(row.user_id))
    const waiting = counts.filter((row) => known.includes(row.user_id))
    // A call before may have ended the session.
    const fault = !device.has(userId)
      ? unknownToken()
      : clashing.has(userId)
        ? keyInUse()
        : keyFault(upload, own, waiting)
    if (fault) results.set(index, fault)
    return !fault
  })
  const changed = good.filter(({ userId, args: [{ deviceKeys: json }] }) => {
    return json !== undefined && json !== device.get(userId)!.json
  })
  const reborn = changed.filter((upload) => isReborn(upload, device.get(upload.userId)))
  await write(sql, good, changed, reborn)
  const [after] = await Promise.all([
    oneTimeKeys.counts(sql, good),
    announceDevices(sql, changed, commit),
  ])
  for (const { userId, index } of good) {
    const own = after.filter((row) => row.user_id === userId)
    results.set(index, { counts: Object.fromEntries(own.map((row) => [row.algorithm, row.count])) })
  }
  return results
}

const namedKeys = ({ shard, userId, position, deviceId, args: [{ oneTimeKeys: keys }] }: Upload) =>
  keys.map((key) => ({ shard, userId, deviceId, position, ...key }))

/** The same key again is what a repeated request brings; another one under its name is a mistake. */
function keyFault(
  { args: [{ oneTimeKeys: keys }] }: Upload,
  stored: readonly oneTimeKeys.StoredKey[],
  waiting: readonly { algorithm: string; count: number }[],
): MatrixError | undefined {
  const before = new Map(stored.map((row) => [`${row.algorithm}:${row.key_id}`, row.json]))
  for (const { algorithm, keyId, json } of keys) {
    const known = before.get(`${algorithm}:${keyId}`)
    if (known !== undefined && known !== json)
      return new MatrixError(
        400,
        'M_INVALID_PARAM',
        `One time key ${algorithm}:${keyId} already exists, with another content`,
      )
  }
  const held = waiting.reduce((sum, { count }) => sum + count, 0)
  if (held + keys.length - before.size > maxOneTimeKeys)
    return new MatrixError(
      400,
      'M_INVALID_PARAM',
      `A device may have ${maxOneTimeKeys} one-time keys`,
    )
  return undefined
}

async function write(
  sql: Sql,
  good: readonly Upload[],
  changed: readonly Upload[],
  reborn: readonly Upload[],
): Promise<void> {
  const added = good.flatMap(namedKeys)
  const fallback = good.flatMap(({ shard, userId, deviceId, args: [{ fallbackKeys: keys }] }) =>
    keys.map((key) => ({ shard, userId, deviceId, ...key })),
  )
  await Promise.all([
    ...(reborn.length > 0
      ? [oneTimeKeys.remove(sql, reborn), fallbackKeys.remove(sql, reborn)]
      : []),
    ...(changed.length > 0
      ? [
          deviceKeys.put(
            sql,
            changed.map((each) => ({ ...each, json: each.args[0].deviceKeys! })),
          ),
        ]
      : []),
    ...(added.length > 0 ? [oneTimeKeys.add(sql, added)] : []),
    ...(fallback.length > 0 ? [fallbackKeys.put(sql, fallback)] : []),
  ])
}

/** A device that begins anew with other identity keys: the others that it had are of no use any more. */
function isReborn(
  { args: [{ deviceKeys: json }] }: Upload,
  before: deviceKeys.KnownDevice | undefined,
): boolean {
  if (json === undefined || !before || before.json === null) return false
  return identity(json) !== identity(before.json)
}

const identity = (json: string): string => JSON.stringify((parseJson(json) as JsonObject)['keys'])

const keyInUse = () =>
  new MatrixError(403, 'M_FORBIDDEN', "The ID of the device is one of the user's signing keys")

/**
 * Several calls may want keys of one device: they share out what is there, in their order.
 *
 * Spec: client-server-api/#post_matrixclientv3keysclaim
 */
async function claimKeys(
  sql: Sql,
  calls: CallsOf<KeyCalls['claimKeys']>,
): Promise<Results<KeyCalls['claimKeys']>> {
  const name = (...parts: string[]) => JSON.stringify(parts)
  const wanted = calls.flatMap(({ shard, userId, args: [keys] }, index) =>
    keys.map(([deviceId, algorithm]) => ({
      index,
      shard,
      userId,
      deviceId,
      algorithm,
      name: name(userId, deviceId, algorithm),
    })),
  )
  const claims = new Map<string, oneTimeKeys.Claim>()
  for (const each of wanted) {
    const claim = claims.get(each.name) ?? { ...each, count: 0 }
    claim.count++
    claims.set(each.name, claim)
  }
  const at = Math.max(...calls.map(({ args: [, time] }) => time))
  const taken = await oneTimeKeys.claim(sql, [...claims.values()], at)
  const supply = new Map<string, typeof taken>()
  for (const row of taken.toSorted(
    (a, b) => a.position - b.position || (a.key_id < b.key_id ? -1 : 1),
  )) {
    const key = name(row.user_id, row.device_id, row.algorithm)
    supply.set(key, [...(supply.get(key) ?? []), row] as never)
  }
  const lacking = [...claims].filter(([key, { count }]) => (supply.get(key)?.length ?? 0) < count)
  const spare = lacking.length
    ? await fallbackKeys.use(
        sql,
        lacking.map(([, claim]) => claim),
      )
    : []
  const fallback = new Map(
    spare.map((row) => [name(row.user_id, row.device_id, row.algorithm), row]),
  )
  const given = new Map<number, ClaimedKey[]>(calls.map((_, index) => [index, []]))
  for (const { index, name: key, deviceId, algorithm } of wanted) {
    const row = supply.get(key)?.shift() ?? fallback.get(key)
    if (row) given.get(index)!.push([deviceId, algorithm, row.key_id, row.json])
  }
  return new Map([...given].map(([index, keys]) => [index, { keys }]))
}
