import type { RoomEvent } from '#core/event/pdu.ts'
import type { KnownEvents } from '#engine/room/fetch/fetching.ts'

/** A store that has these events; some of them were rejected. */
export function knownEvents(
  events: Iterable<RoomEvent>,
  rejected: Iterable<RoomEvent> = [],
): KnownEvents {
  const all = new Map<string, { event: RoomEvent; rejected: boolean }>()
  for (const event of events) all.set(event.eventId, { event, rejected: false })
  for (const event of rejected) all.set(event.eventId, { event, rejected: true })
  const pick = <V>(ids: readonly string[], of: (id: string) => V) =>
    Promise.resolve(new Map(ids.filter((id) => all.has(id)).map((id) => [id, of(id)])))
  return {
    standing: (ids) => pick(ids, (id) => (all.get(id)!.rejected ? 'rejected' : 'accepted')),
    get: (ids) => pick(ids, (id) => all.get(id)!),
  }
}

export const idsOf = (events: Iterable<{ event: RoomEvent } | RoomEvent>): string[] =>
  [...events].map((each) => ('event' in each ? each.event.eventId : each.eventId))
