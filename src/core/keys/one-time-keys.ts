import { canonicalJson } from '#core/canonical-json.ts'
import { isShortText } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { isSignedBy } from './device-keys.ts'
import { type KeyFault, badKey, badSignature, invalidKey } from './fault.ts'

/** A one-time or fallback key; `json` is canonical, so that equal keys are equal texts. */
export type OneTimeKey = { algorithm: string; keyId: string; json: string }

/** Not spec: the bytes that one key may have. */
const maxBytes = 4096

/** The device that uploads keys, with its Ed25519 key if that is known. */
export type Uploader = { userId: string; deviceId: string; key: string | undefined }

/**
 * Reads a map of one-time or fallback keys by `<algorithm>:<key_id>`, or says what is wrong with it.
 * One that is signed must be signed by its device.
 *
 * Spec: client-server-api/#one-time-and-fallback-keys
 */
export function readOneTimeKeys(
  keys: JsonObject,
  { userId, deviceId, key: deviceKey }: Uploader,
): OneTimeKey[] | KeyFault {
  const read: OneTimeKey[] = []
  for (const [name, key] of Object.entries(keys)) {
    const colon = name.indexOf(':')
    if (colon < 1 || colon === name.length - 1 || !isShortText(name))
      return badKey(`'${name}' is not <algorithm>:<key_id>`)
    if (typeof key !== 'string' && !isObject(key)) return badKey(`${name} is not a key`)
    if (isObject(key)) {
      const fault = signedKeyFault(name, key)
      if (fault) return fault
      const { signatures } = key
      const isSigned = isObject(signatures) && Object.keys(signatures).length > 0
      const keyId = `ed25519:${deviceId}`
      if (isSigned && deviceKey !== undefined && !isSignedBy(key, userId, keyId, deviceKey))
        return badSignature(`${name} is not signed by the device ${deviceId}`)
    }
    const json = canonicalJson(key, 'tolerant')
    if (json === undefined) return badKey(`${name} has no canonical JSON`)
    if (json.length > maxBytes) return invalidKey(`${name} has more than ${maxBytes} bytes`)
    read.push({ algorithm: name.slice(0, colon), keyId: name.slice(colon + 1), json })
  }
  return read
}

function signedKeyFault(name: string, key: JsonObject): KeyFault | undefined {
  const { key: text, signatures } = key as Record<string, Json | undefined>
  if (typeof text !== 'string') return badKey(`${name}: 'key' is missing`)
  // Signed keys are of no use without.
  if (name.startsWith('signed_') && !isObject(signatures ?? null))
    return badKey(`${name}: 'signatures' is missing`)
  return undefined
}
