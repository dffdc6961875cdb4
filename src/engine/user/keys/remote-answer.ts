import { isFault, readCrossSigningKey, type Usage } from '#core/keys/cross-signing.ts'
import { isDeviceKeys } from '#core/keys/device-keys.ts'
import { isShortText } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { type UserKeys, newUserKeys } from '#engine/user/keys/published.ts'
import type { RemoteKey } from '#engine/user/writers/remote-devices.ts'

/** What other servers say of their users' keys, as far as it is well formed. */

/** Not spec: devices of one user that are taken in. */
const maxDevices = 1000
const maxDeviceBytes = 65_536

/** The object under a key, which a peer chose. */
export function memberOf(object: Json | undefined, key: string): JsonObject | undefined {
  const value = isObject(object) && Object.hasOwn(object, key) ? object[key] : undefined
  return isObject(value) ? value : undefined
}

/** The keys of one user in the answer of `/user/keys/query`. */
export function keysInQuery(answer: JsonObject, userId: string): UserKeys {
  const user = newUserKeys()
  const devices = memberOf(answer['device_keys'], userId) ?? {}
  for (const [deviceId, keys] of Object.entries(devices)) {
    const unsigned = isObject(keys) ? keys['unsigned'] : undefined
    addDevice(user, userId, deviceId, keys, isObject(unsigned) ? unsigned : {})
  }
  addCrossSigning(user, userId, 'master', memberOf(answer['master_keys'], userId))
  addCrossSigning(user, userId, 'self_signing', memberOf(answer['self_signing_keys'], userId))
  return user
}

/** The keys of one user in the answer of `/user/devices/{userId}`; undefined if it is not one. */
export function keysInList(answer: JsonObject, userId: string): UserKeys | undefined {
  const { user_id: owner, stream_id: streamId, devices } = answer
  if (owner !== userId || !Number.isSafeInteger(streamId) || !Array.isArray(devices))
    return undefined
  const user: UserKeys = { ...newUserKeys(), streamId: streamId as number }
  for (const device of devices) {
    if (!isObject(device) || typeof device['device_id'] !== 'string') continue
    addDevice(user, userId, device['device_id'], device['keys'], device)
  }
  addCrossSigning(user, userId, 'master', memberOf(answer, 'master_key'))
  addCrossSigning(user, userId, 'self_signing', memberOf(answer, 'self_signing_key'))
  return user
}

function addDevice(
  user: UserKeys,
  userId: string,
  deviceId: string,
  keys: Json | undefined,
  described: JsonObject,
): void {
  if (!isDeviceKeys(keys) || keys['user_id'] !== userId || keys['device_id'] !== deviceId) return
  if (!isShortText(deviceId) || user.devices.size >= maxDevices) return
  if (JSON.stringify(keys).length > maxDeviceBytes) return
  const name = described['device_display_name']
  user.devices.set(deviceId, { keys, displayName: typeof name === 'string' ? name : undefined })
}

function addCrossSigning(
  user: UserKeys,
  userId: string,
  usage: Usage,
  json: JsonObject | undefined,
): void {
  if (json && !isFault(readCrossSigningKey(usage, json, userId))) user.crossSigning[usage] = json
}

/** Cross-signing keys as they are stored. */
export function storedKeys(userId: string, keys: UserKeys['crossSigning']): RemoteKey[] {
  return Object.entries(keys).flatMap(([usage, json]) => {
    const key = readCrossSigningKey(usage as Usage, json, userId)
    return isFault(key)
      ? []
      : [{ usage: key.usage, publicKey: key.publicKey, json: JSON.stringify(json) }]
  })
}

/** Devices as they are stored. */
export const storedDevices = (user: UserKeys): [deviceId: string, content: string][] =>
  Array.from(user.devices, ([deviceId, { keys, displayName }]) => [
    deviceId,
    JSON.stringify({ device_display_name: displayName, keys }),
  ])
