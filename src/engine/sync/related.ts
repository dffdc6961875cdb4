import type { JsonObject } from '#core/json.ts'
import { type BundleReader, readBundles } from '#engine/read/bundles.ts'
import type { Erased } from '#engine/read/erased.ts'
import type { Seen } from '#engine/read/visible.ts'
import type { SyncRequest } from './plan.ts'
import type { Timeline } from './timelines.ts'

/**
 * What relates to the events of timelines that are limited: of the others a reader has had or gets all
 * that does.
 *
 * Spec: client-server-api/#aggregations-of-child-events
 */
export function readRelated(
  reader: BundleReader & { readonly clock: () => number; readonly erased?: Erased },
  { userId, deviceId, filter }: SyncRequest,
  timelines: ReadonlyMap<number, Timeline>,
  seen: ReadonlyMap<number, Seen>,
  ignored: ReadonlySet<string>,
): Promise<Map<number, JsonObject>> {
  const events = [...timelines.values()].flatMap((each) => (each.limited ? each.events : []))
  const { clock, erased } = reader
  const format = filter.eventFormat
  const audience = { userId, deviceId, now: clock(), format, withoutRoomId: false, erased }
  return readBundles(reader, audience, ignored, events, seen)
}
