import { isObject, type JsonObject } from '#core/json.ts'
import { signedTextOf } from '#core/signing.ts'
import { verifySignature } from '#core/ed25519.ts'
import { type KeyFault, badKey, badSignature, invalidKey } from './fault.ts'

/** Not spec: identity keys of a device, in bytes. Clients upload less than one thousand. */
const maxBytes = 16_384

/**
 * What is wrong with the identity keys of a device. They must be of this user and device, and signed
 * by the device's own key.
 *
 * Spec: client-server-api/#device-keys
 *
 * Not spec: keys without any signature are taken. No client will trust them, so they harm nobody but
 * the device that uploads them; servers' tests are full of them.
 */
export function deviceKeysFault(
  keys: JsonObject,
  userId: string,
  deviceId: string,
): KeyFault | undefined {
  const shape = shapeFault(keys)
  if (shape !== undefined) return badKey(`device_keys: ${shape}`)
  if (keys['user_id'] !== userId) return invalidKey(`device_keys: 'user_id' is not ${userId}`)
  if (keys['device_id'] !== deviceId)
    return invalidKey(`device_keys: 'device_id' is not the device that uploads them, ${deviceId}`)
  if (JSON.stringify(keys).length > maxBytes)
    return invalidKey(`device_keys: more than ${maxBytes} bytes`)
  const signatures = keys['signatures'] as JsonObject
  if (Object.keys(signatures).length === 0) return undefined
  const key = deviceKeyOf(keys)
  if (key !== undefined && isSignedBy(keys, userId, `ed25519:${deviceId}`, key)) return undefined
  return badSignature('device_keys: not signed by the key of the device')
}

/** Whether an object has the form of a device's identity keys. */
export const isDeviceKeys = (value: unknown): value is JsonObject =>
  isObject(value) && shapeFault(value) === undefined

function shapeFault(keys: JsonObject): string | undefined {
  const { user_id: userId, device_id: deviceId, algorithms, keys: own, signatures } = keys
  if (typeof userId !== 'string') return "'user_id' is missing"
  if (typeof deviceId !== 'string') return "'device_id' is missing"
  if (!Array.isArray(algorithms) || !algorithms.every((name) => typeof name === 'string'))
    return "'algorithms' is not a list of names"
  if (!isTexts(own)) return "'keys' is not a map of texts"
  if (!isObject(signatures) || !Object.values(signatures).every(isTexts))
    return "'signatures' is not a map of signatures"
  return undefined
}

const isTexts = (value: unknown): boolean =>
  isObject(value) && Object.values(value).every((text) => typeof text === 'string')

/** The Ed25519 key of a device, from its identity keys. */
export function deviceKeyOf(keys: JsonObject): string | undefined {
  const { keys: own, device_id: deviceId } = keys
  if (!isObject(own) || typeof deviceId !== 'string') return undefined
  const key = own[`ed25519:${deviceId}`]
  return typeof key === 'string' ? key : undefined
}

/** Whether an object is signed by one key of a user. */
export function isSignedBy(
  object: JsonObject,
  userId: string,
  keyId: string,
  publicKey: string,
): boolean {
  const signature = signatureIn(object, userId, keyId)
  const text = signedTextOf(object)
  return (
    signature !== undefined && text !== undefined && verifySignature(publicKey, text, signature)
  )
}

/** The signature of one key of a user over an object. */
export function signatureIn(object: JsonObject, userId: string, keyId: string): string | undefined {
  const all = object['signatures']
  const own = isObject(all) && Object.hasOwn(all, userId) ? all[userId] : undefined
  const signature = isObject(own) && Object.hasOwn(own, keyId) ? own[keyId] : undefined
  return typeof signature === 'string' ? signature : undefined
}
