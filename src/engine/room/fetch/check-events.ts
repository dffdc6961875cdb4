import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { createOfRoomId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { Verdict } from '#core/verdict.ts'
import type { CheckedEvent, CheckedEvents, KnownEvent } from '#engine/room/fetch/fetching.ts'
import { orderByParents } from '#engine/room/fetch/order.ts'
import { Pace } from '#engine/room/fetch/pace.ts'
import { judgeAll, type Judged, type Receiving } from '#engine/room/fetch/receive-events.ts'

/**
 * Steps 1 to 4 of the checks on receipt, for many events of one room at once: as for state and auth
 * chains, whose place in the timeline nobody knows.
 *
 * Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
 */
export async function checkMany(
  version: RoomVersion,
  jsons: readonly JsonObject[],
  receiving: Receiving,
): Promise<CheckedEvents> {
  const pace = new Pace()
  const { ids, judged, dropped } = await judgeAll(version, jsons, receiving, pace)
  const authOf = (id: string) => judged.get(id)?.event.authEvents
  const { order, cyclic } = await orderByParents(judged.keys(), authOf, pace)
  for (const eventId of cyclic) {
    judged.delete(eventId)
    dropped.push({ eventId, reason: 'The event is in its own auth chain' })
  }
  const known = await knownAuth(judged, receiving, pace)
  const result: CheckedEvents = { ids, accepted: [], rejected: [], dropped, lacking: [] }
  const lacking = new Set<string>()
  const verdicts = new Map<string, KnownEvent>(known)
  // v12+: the create event is nobody's auth event and everybody's condition.
  const authChainOrder = version.createEventIsRoomId
    ? createFirst(order, createOfRoomId(receiving.roomId))
    : order
  for (const eventId of authChainOrder) {
    if (pace.due) await pace.rest()
    const { event, redacted, rejection } = judged.get(eventId)!
    const absent = neededBy(event).filter((id) => !verdicts.has(id))
    if (absent.length > 0) {
      for (const id of absent) if (!judged.has(id)) lacking.add(id)
      dropped.push({ eventId, reason: `The auth event ${absent[0]} cannot be had` })
      continue
    }
    const verdict = rejection === undefined ? judge(event, verdicts) : undefined
    const reason = rejection ?? (verdict!.allowed ? undefined : verdict!.reason)
    verdicts.set(eventId, { event, rejected: reason !== undefined })
    if (reason === undefined) result.accepted.push({ event, redacted })
    else result.rejected.push({ event, redacted, reason })
  }
  result.lacking.push(...lacking)
  return result
}

/** Only those of which some events, or their auth events, are made: a liar adds what nobody cites. */
export async function chainOnly(
  checked: CheckedEvents,
  roots: Iterable<string>,
): Promise<CheckedEvents> {
  const pace = new Pace()
  const wanted = new Set(roots)
  const accepted: CheckedEvent[] = []
  // What cites comes after what is cited.
  for (const each of checked.accepted.toReversed()) {
    if (pace.due) await pace.rest()
    if (!wanted.has(each.event.eventId)) continue
    accepted.push(each)
    for (const id of each.event.authEvents) wanted.add(id)
  }
  const rejected = checked.rejected.filter(({ event }) => wanted.has(event.eventId))
  return { ...checked, accepted: accepted.reverse(), rejected }
}

const createFirst = (order: readonly string[], createId: string): readonly string[] =>
  order.includes(createId) ? [createId, ...order.filter((id) => id !== createId)] : order

/** What must be there before an event can be judged. */
function neededBy({ type, version, authEvents, roomId }: RoomEvent): readonly string[] {
  if (type === 'm.room.create') return []
  return version.createEventIsRoomId ? [...authEvents, createOfRoomId(roomId)] : authEvents
}

/** The auth events that are not among those at hand but known. */
async function knownAuth(
  judged: ReadonlyMap<string, Judged>,
  { known }: Receiving,
  pace: Pace,
): Promise<ReadonlyMap<string, KnownEvent>> {
  if (!known) return new Map()
  const outside = new Set<string>()
  for (const { event } of judged.values()) {
    if (pace.due) await pace.rest()
    for (const id of neededBy(event)) if (!judged.has(id)) outside.add(id)
  }
  if (outside.size === 0) return new Map()
  return known.get([...outside])
}

/** Step 4: the auth rules, by the auth events alone. */
function judge(event: RoomEvent, verdicts: ReadonlyMap<string, KnownEvent>): Verdict {
  const lookup = (id: string) => verdicts.get(id)?.event
  const cited = checkAuthEvents(event, lookup, (id) => verdicts.get(id)?.rejected === true)
  if (!cited.allowed || event.type === 'm.room.create') return cited
  const auth = neededBy(event).map((id) => lookup(id)!)
  const state = (type: string, stateKey: string) =>
    auth.find((each) => each.type === type && each.stateKey === stateKey)
  // The signature that a restricted join needs was checked before.
  return authorize(event, state, () => true)
}
