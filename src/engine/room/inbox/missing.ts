import type { Incoming } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { Search } from '#engine/room/inbox/search.ts'

/** A parked event that waits for nothing that is parked itself. */
type Root = { event: Incoming; missing: string[] }

/**
 * Asks other servers for what parked events lack: one search for all events of one origin in a room,
 * and for those of others that lack the same. What waits for a parked event needs no search. No lane
 * waits for any of it.
 */
export class MissingFetcher {
  readonly #searches = new Map<Lane, Set<Search>>()
  readonly #perOrigin = new Map<string, number>()
  /** Lanes with events for which there was no room for a search. */
  readonly #waiting = new Set<Lane>()
  /** Searched for once: if they lack something still they go back to the inbox. */
  readonly #searched = new WeakSet<Incoming>()
  #count = 0
  #stopped = false

  /** Begins what searches the parked events of a lane need. */
  start(lane: Lane): void {
    if (this.#stopped) return
    this.#waiting.delete(lane)
    const searches = this.#searches.get(lane) ?? new Set()
    const byOrigin = new Map<string, Root[]>()
    const inVain: string[] = []
    for (const root of lane.inbound.roots()) {
      const { event, missing } = root
      if ([...searches].some((search) => search.has(event.eventId))) continue
      if (this.#searched.has(event)) inVain.push(event.eventId)
      else if (!this.#shares(searches, event.origin, missing)) {
        const roots = byOrigin.get(event.origin)
        if (roots) roots.push(root)
        else byOrigin.set(event.origin, [root])
      }
    }
    lane.inbound.putOff(inVain)
    if (lane.room?.version.eventFormat !== 'hashed') lane.inbound.putOff(lane.inbound.park.rings())
    for (const [origin, roots] of byOrigin) this.#begin(lane, origin, roots)
  }

  /** What is being looked for, for a lane. */
  searchesOf = (lane: Lane): Iterable<Search> => this.#searches.get(lane) ?? []

  /** Begins nothing more. */
  stop(): void {
    this.#stopped = true
    for (const searches of this.#searches.values()) for (const search of searches) search.stop()
  }

  /** Whether all that is missing is being looked for; its origin is then asked, too. */
  #shares(searches: ReadonlySet<Search>, origin: string, missing: readonly string[]): boolean {
    const of = missing.map((id) => [...searches].find((search) => search.looksFor(id)))
    if (of.includes(undefined)) return false
    for (const search of of) search!.alsoAsk(origin)
    return true
  }

  #begin(lane: Lane, origin: string, roots: readonly Root[]): void {
    const { limits } = lane.parts
    const searches = this.#searches.get(lane) ?? new Set()
    const ofOrigin = this.#perOrigin.get(origin) ?? 0
    if (
      this.#count >= limits.searches ||
      searches.size >= limits.searchesPerRoom ||
      ofOrigin >= limits.searchesPerOrigin ||
      [...searches].some((search) => search.origin === origin)
    ) {
      this.#waiting.add(lane)
      return
    }
    this.#count++
    const search = new Search(lane, origin, roots, this.#searched)
    searches.add(search)
    this.#searches.set(lane, searches)
    this.#perOrigin.set(origin, ofOrigin + 1)
    lane
      .keep(() => search.run())
      .catch((error: unknown) => {
        lane.parts.onError(error, 'what events lack could not be looked for')
        lane.inbound.putOff(search.left)
      })
      .finally(() => this.#ended(lane, search))
  }

  #ended(lane: Lane, search: Search): void {
    const searches = this.#searches.get(lane)!
    searches.delete(search)
    this.#count--
    if (searches.size === 0) this.#searches.delete(lane)
    const left = this.#perOrigin.get(search.origin)! - 1
    if (left > 0) this.#perOrigin.set(search.origin, left)
    else this.#perOrigin.delete(search.origin)
    for (const each of new Set([lane, ...this.#waiting]))
      // One that is at work asks when it is done.
      if (!each.inbound.running) this.start(each)
  }
}
