import type { CheckedEvents, KnownEvent, KnownEvents } from '#engine/room/fetch/fetching.ts'

/** What is known, and what was just fetched and checked. */
export function withEvents(
  known: KnownEvents | undefined,
  fetched: readonly CheckedEvents[],
): KnownEvents {
  const own = new Map<string, KnownEvent>()
  for (const { accepted, rejected } of fetched) {
    for (const { event } of accepted) own.set(event.eventId, { event, rejected: false })
    for (const { event } of rejected) own.set(event.eventId, { event, rejected: true })
  }
  const ask = async <V>(
    eventIds: readonly string[],
    own: (id: string) => V | undefined,
    others: ((eventIds: readonly string[]) => Promise<ReadonlyMap<string, V>>) | undefined,
  ): Promise<ReadonlyMap<string, V>> => {
    const found = new Map<string, V>()
    const rest: string[] = []
    for (const id of eventIds) {
      const value = own(id)
      if (value === undefined) rest.push(id)
      else found.set(id, value)
    }
    if (rest.length > 0 && others)
      for (const [id, value] of await others(rest)) found.set(id, value)
    return found
  }
  const standing = (id: string) => {
    const event = own.get(id)
    return event && (event.rejected ? 'rejected' : 'accepted')
  }
  return {
    standing: (eventIds) => ask(eventIds, standing, known?.standing),
    get: (eventIds) => ask(eventIds, (id) => own.get(id), known?.get),
  }
}
