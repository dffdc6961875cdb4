import { isPublicKey } from '#core/ed25519.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { type SigningKey, signJson, verifyJson } from '#core/signing.ts'

/**
 * The keys that servers publish, and how long a signature of one counts.
 *
 * Spec: server-server-api/#retrieving-server-keys
 */
export type ServerKey = Readonly<{
  /** Base64. */
  publicKey: string
  /** Until when the server vouches for the key; for an old key, when it expired. */
  validUntilTs: number
  /** An old key: signs no requests, and events only up to `validUntilTs`. */
  old: boolean
}>

/** What is known of a server's key; undefined if nothing is. */
export type KeyLookup = (serverName: string, keyId: string) => ServerKey | undefined

const sevenDays = 7 * 24 * 60 * 60 * 1000

/** Whether a key may have signed an event of this time. */
export function signsEvents(
  key: ServerKey,
  version: RoomVersion,
  originServerTs: number,
  now: number,
): boolean {
  // All versions: a key known to have expired before the event is ignored.
  if (key.old) return originServerTs <= key.validUntilTs
  // v5+: valid at the time of the event, and no key is for more than a week ahead.
  if (!version.enforceKeyValidity) return true
  return originServerTs <= Math.min(key.validUntilTs, now + sevenDays)
}

/** Whether a key may sign a request now. */
export const signsRequests = (key: ServerKey, now: number): boolean =>
  !key.old && now <= key.validUntilTs

/** What a server says of its keys. */
export type KeyDocument = Readonly<{
  serverName: string
  validUntilTs: number
  keys: ReadonlyMap<string, ServerKey>
  json: JsonObject
}>

/** Our own answer to `GET /_matrix/key/v2/server`, signed with every current key. */
export function buildKeyDocument(
  serverName: string,
  keys: readonly SigningKey[],
  oldKeys: readonly Readonly<{ keyId: string; publicKey: string; expiredTs: number }>[],
  validUntilTs: number,
): JsonObject {
  const verifyKeys = keys.map((key) => [key.keyId, { key: key.publicKey }])
  const old = oldKeys.map((key) => [key.keyId, { key: key.publicKey, expired_ts: key.expiredTs }])
  const unsigned: JsonObject = {
    old_verify_keys: Object.fromEntries(old),
    server_name: serverName,
    valid_until_ts: validUntilTs,
    verify_keys: Object.fromEntries(verifyKeys),
  }
  return keys.reduce((document, key) => signJson(document, serverName, key), unsigned)
}

/** Not spec: how many keys one server may publish; each costs memory and a row. */
const maxKeys = 100

/**
 * Checks a key document that a server sent, or that a notary passed on: its name, its form, and that
 * it is signed by one of its own current keys. A text says why it is refused.
 */
export function checkKeyDocument(json: unknown, serverName: string): KeyDocument | string {
  if (!isObject(json)) return 'The key document is not an object'
  if (json['server_name'] !== serverName) return 'The key document is of another server'
  const validUntilTs = json['valid_until_ts']
  if (!isTimestamp(validUntilTs)) return '`valid_until_ts` is not a time'
  const current = json['verify_keys']
  if (!isObject(current)) return '`verify_keys` is not an object'
  const old = isObject(json['old_verify_keys']) ? json['old_verify_keys'] : {}
  if (Object.keys(current).length + Object.keys(old).length > maxKeys)
    return 'The key document holds too many keys'

  const keys = new Map<string, ServerKey>()
  for (const [keyId, entry] of Object.entries(old)) {
    const publicKey = publicKeyIn(keyId, entry)
    const expiredTs = isObject(entry) ? entry['expired_ts'] : undefined
    if (publicKey === undefined || !isTimestamp(expiredTs)) continue
    keys.set(keyId, { publicKey, validUntilTs: expiredTs, old: true })
  }
  for (const [keyId, entry] of Object.entries(current)) {
    const publicKey = publicKeyIn(keyId, entry)
    if (publicKey !== undefined) keys.set(keyId, { publicKey, validUntilTs, old: false })
  }
  const currentKey = (keyId: string) => {
    const key = keys.get(keyId)
    return key?.old === false ? key.publicKey : undefined
  }
  if (!verifyJson(json, serverName, currentKey))
    return 'The key document is not signed by the keys it holds'
  return { serverName, validUntilTs, keys, json }
}

const isTimestamp = (value: Json | undefined): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0

/**
 * Not spec: keys whose secret half is known to everybody, so that they prove nothing. CVE-2026-24044:
 * a program that set servers up gave them all this one.
 */
const leakedKeys = new Set(['l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og='])

/** However it is written. */
const isLeaked = (key: string): boolean =>
  leakedKeys.has(Buffer.from(key, 'base64').toString('base64'))

/** Keys of other algorithms, and keys that no signature may be checked with, are passed over. */
function publicKeyIn(keyId: string, entry: Json): string | undefined {
  if (!keyId.startsWith('ed25519:') || keyId.length > 255 || !isObject(entry)) return undefined
  const key = entry['key']
  return typeof key === 'string' && isPublicKey(key) && !isLeaked(key) ? key : undefined
}
