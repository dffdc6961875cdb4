import { type Appservice, takesEphemeral, takesToDevice } from '#core/appservice.ts'
import type { JsonObject } from '#core/json.ts'

export type KeyCounts = {
  [userId: string]: { [deviceId: string]: { [algorithm: string]: number } }
}
export type FallbackTypes = { [userId: string]: { [deviceId: string]: readonly string[] } }

/** What one transaction brings. */
export type Transaction = {
  readonly events: readonly JsonObject[]
  readonly ephemeral: readonly JsonObject[]
  readonly toDevice: readonly JsonObject[]
  readonly changedLists: readonly string[]
  readonly leftLists: readonly string[]
  readonly oneTimeKeys: KeyCounts
  readonly unusedFallbacks: FallbackTypes
}

/**
 * The body of a transaction, with the names that its receiver knows. Who asked for ephemeral data by the
 * unstable name alone finds it under one.
 *
 * Spec: application-service-api/#pushing-events
 */
export function transactionBody(appservice: Appservice, txn: Transaction): JsonObject {
  const { events, ephemeral, toDevice, changedLists, leftLists } = txn
  const body: JsonObject = { events: [...events] }
  if (takesEphemeral(appservice)) {
    const name = appservice.receiveEphemeral ? 'ephemeral' : 'de.sorunome.msc2409.ephemeral'
    body[name] = [...ephemeral]
  }
  // MSC2409
  if (takesToDevice(appservice)) body['de.sorunome.msc2409.to_device'] = [...toDevice]
  if (!appservice.pushEncryption) return body
  // MSC3202
  body['org.matrix.msc3202.device_lists'] = { changed: [...changedLists], left: [...leftLists] }
  body['org.matrix.msc3202.device_one_time_keys_count'] = txn.oneTimeKeys
  body['org.matrix.msc3202.device_unused_fallback_key_types'] =
    txn.unusedFallbacks as unknown as JsonObject
  return body
}
