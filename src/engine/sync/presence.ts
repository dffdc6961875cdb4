import type { Filter } from '#core/filter.ts'
import type { JsonObject } from '#core/json.ts'
import type { Entry } from '#engine/live/presence-entry.ts'
import type { Presence } from '#engine/live/presence.ts'
import type { Place } from '#engine/read/places.ts'
import type { PresencePoint } from '#engine/read/sync-token.ts'

export type PresenceNews = {
  readonly events: readonly JsonObject[]
  /** For the answer's token. */
  readonly point: PresencePoint | undefined
}

export type PresenceRequest = {
  readonly filter: Pick<Filter, 'presence'>
  /** What was told before; undefined: nothing ever was. */
  readonly since: { readonly presence?: PresencePoint } | undefined
  readonly ignored: ReadonlySet<string>
}

/** Users of whom a client hears when it knows of nobody. */
const maxUsers = 1_000

/**
 * Who is there of those with whom a user shares a room, where that changed since a point; of rooms that
 * are new to the client everybody who is not offline. All of it is in memory. What was told in another
 * life of the server is told anew, and who is offline by now with it.
 *
 * Spec: client-server-api/#presence
 */
export function readPresence(
  presence: Presence | undefined,
  { filter, since, ignored }: PresenceRequest,
  places: ReadonlyMap<number, Place>,
  newRooms: readonly { readonly roomNid: number }[],
): PresenceNews {
  if (!presence) return { events: [], point: since?.presence }
  const { log, epoch } = presence
  const point = { epoch, at: log.at }
  const told = since?.presence
  const isKnown = told?.epoch === epoch && told.at >= log.floor
  if (isKnown && told.at === log.at && newRooms.length === 0) return { events: [], point }
  const found = new Set<Entry>()
  for (const entry of log.changedAfter(isKnown ? told.at : 0))
    if ((since || entry.shown.state !== 'offline') && meets(entry.rooms, places)) found.add(entry)
  for (const { roomNid } of isKnown ? newRooms : [])
    for (const entry of log.presentIn(roomNid)) found.add(entry)
  const events: JsonObject[] = []
  for (const entry of found) {
    if (ignored.has(entry.userId)) continue
    const event = presence.eventOf(entry)
    if (filter.presence.accepts(event)) events.push(event)
  }
  // The newest are at the end.
  const max = Math.min(filter.presence.limit ?? Infinity, isKnown ? Infinity : maxUsers)
  return { events: events.length > max ? events.slice(events.length - max) : events, point }
}

/** Whether somebody is in a room to which a user is joined. */
function meets(
  theirs: ReadonlySet<number> | undefined,
  places: ReadonlyMap<number, Place>,
): boolean {
  if (!theirs) return false
  if (theirs.size <= places.size) {
    for (const roomNid of theirs) if (places.get(roomNid)?.membership === 'join') return true
    return false
  }
  for (const { roomNid, membership } of places.values())
    if (membership === 'join' && theirs.has(roomNid)) return true
  return false
}
