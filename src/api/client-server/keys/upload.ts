import { keyError } from '#api/client-server/keys/error.ts'
import type { JsonObject } from '#core/json.ts'
import { deviceKeyOf } from '#core/keys/device-keys.ts'
import { type OneTimeKey, readOneTimeKeys } from '#core/keys/one-time-keys.ts'

type Body = {
  one_time_keys?: Record<string, unknown>
  fallback_keys?: Record<string, unknown>
}

/** The one-time and fallback keys that a device uploads, checked by its identity as far as known. */
export function readUpload(
  body: Body,
  of: { userId: string; deviceId: string; identity: JsonObject | undefined },
): { oneTimeKeys: OneTimeKey[]; fallbackKeys: OneTimeKey[] } {
  const { userId, deviceId, identity } = of
  const uploader = { userId, deviceId, key: identity && deviceKeyOf(identity) }
  const read = (keys: Record<string, unknown> = {}) => {
    const list = readOneTimeKeys(keys as JsonObject, uploader)
    if ('errcode' in list) throw keyError(list)
    return list
  }
  const fallbacks = read(body.fallback_keys)
  return {
    oneTimeKeys: read(body.one_time_keys),
    // One for each algorithm: the last one counts.
    fallbackKeys: [...new Map(fallbacks.map((each) => [each.algorithm, each])).values()],
  }
}
