import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { createOfRoomId } from '#core/ids.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { fetchAuth } from '#engine/room/fetch/auth.ts'
import type { CheckedEvent, FetchedEvents, Fetching } from '#engine/room/fetch/fetching.ts'
import { fetchMissing } from '#engine/room/fetch/missing.ts'
import { orderByParents } from '#engine/room/fetch/order.ts'
import { withEvents } from '#engine/room/fetch/overlay.ts'
import { Pace } from '#engine/room/fetch/pace.ts'
import type { Incoming } from '#engine/room/inbox/incoming.ts'
import { fetchingIn, knownIn, serversOf } from '#engine/room/inbox/known-events.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { fetchState, keepOutliers } from '#engine/room/inbox/outliers.ts'
import type { Room } from '#engine/room/room.ts'

/** Not spec: events that get a fetched state in one search. */
const maxStates = 5
/** Extremities named in a request, so that the other server knows where to stop. */
const maxFrom = 20
/** Servers that are asked for the state before an event. */
const maxStateServers = 3

type Root = { event: Incoming; missing: readonly string[] }
type Found = { event: RoomEvent; text: string; rejection: string | undefined; server: string }

/**
 * Looks for what some parked events of a room lack, from one server after the other. What comes goes
 * into the lane like any event, parents first. Where an ancestor cannot be had before the deadline,
 * the state before its child is fetched in its stead; if that fails too, what waits for it goes back
 * to the inbox.
 *
 * Spec: server-server-api/#backfilling-and-retrieving-missing-events
 */
export class Search {
  readonly lane: Lane
  readonly origin: string
  readonly #roots: Map<string, Incoming>
  readonly #searched: WeakSet<Incoming>
  readonly #servers: string[]
  readonly #asked = new Set<string>()
  readonly #found = new Map<string, Found>()
  #bytes = 0
  /** What more is found has no room in memory. */
  #isFull = false
  /** Given to the lane. */
  readonly #released = new Set<string>()
  /** prev_events that are neither found nor known, and auth events likewise. */
  #lacking: Set<string>
  #lackingAuth: Set<string>
  #stopped = false
  readonly since: number
  /** The server that is asked, or was the last to be. */
  asking: string

  constructor(lane: Lane, origin: string, roots: readonly Root[], searched: WeakSet<Incoming>) {
    this.lane = lane
    this.origin = origin
    this.asking = origin
    this.since = lane.parts.now()
    this.#roots = new Map(roots.map(({ event }) => [event.eventId, event]))
    this.#servers = [origin]
    this.#searched = searched
    this.#lacking = new Set()
    this.#lackingAuth = new Set()
    for (const { event: incoming, missing } of roots) {
      searched.add(incoming)
      const prevs = new Set(incoming.event.prevEvents)
      for (const id of missing) (prevs.has(id) ? this.#lacking : this.#lackingAuth).add(id)
    }
  }

  has(eventId: string): boolean {
    return this.#roots.has(eventId)
  }

  looksFor(eventId: string): boolean {
    return this.#lacking.has(eventId) || this.#lackingAuth.has(eventId)
  }

  /** How much is neither found nor known. */
  get lacks(): number {
    return this.#lacking.size + this.#lackingAuth.size
  }

  /** A server that has sent what waits for the same. */
  alsoAsk(server: string): void {
    if (this.#asked.has(server) || this.#servers.includes(server)) return
    this.#servers.unshift(server)
  }

  stop(): void {
    this.#stopped = true
  }

  /** Those that wait still. */
  get left(): string[] {
    return [...this.#roots.keys()].filter((id) => this.lane.inbound.park.has(id))
  }

  async run(): Promise<void> {
    try {
      await this.#run()
    } finally {
      this.lane.parts.memory.unfind(this.#bytes)
    }
  }

  async #run(): Promise<void> {
    const { lane } = this
    const { parts } = lane
    const { missingMs, requestMs, missingEvents } = parts.limits
    const room = await parts.turns.seat(true).run(lane.load())
    if (!room || !isOurs(parts, room)) return lane.inbound.putOff(this.left)
    for (const server of serversOf(lane, room, this.#servers))
      if (!this.#servers.includes(server)) this.#servers.push(server)
    const until = parts.now() + missingMs
    while (!this.#stopped && this.#wants && !this.#isFull && this.#found.size < missingEvents) {
      const leftMs = until - parts.now()
      const server = this.#servers.shift()
      if (server === undefined || leftMs <= 0) break
      this.#asked.add(server)
      this.asking = server
      await this.#ask(room, server, Math.min(leftMs, requestMs))
    }
    if (this.#stopped) return
    if (this.#wants && this.#lacking.size > 0) await this.#replace(room)
    if (!this.#stopped) lane.inbound.putOff(this.#hopeless)
  }

  get #wants(): boolean {
    return this.left.length > 0 && (this.#lacking.size > 0 || this.#lackingAuth.size > 0)
  }

  /** Asks one server for all that lacks, and gives the lane what is complete. */
  async #ask(room: Room, server: string, deadlineMs: number): Promise<void> {
    const fetching = fetchingIn(this.lane, deadlineMs)
    if (this.#lacking.size > 0) await this.#askEvents(room, server, fetching)
    if (!this.#stopped) await this.#askAuth(room, server, fetching)
    if (!this.#stopped) await this.#release(new Map())
  }

  async #askEvents({ roomId, version }: Room, server: string, fetching: Fetching): Promise<void> {
    const { parts } = this.lane
    parts.counters.missingRequests++
    const lacking = [...this.#lacking]
    const to = this.#waiting.filter(({ prevEvents }) => prevEvents.some((id) => this.looksFor(id)))
    const extremities = this.lane.room?.extremities.values() ?? []
    const from = Array.from(extremities, ({ known }) => known.event.eventId)
    const fetched = await fetchMissing({
      ...fetching,
      known: this.#known,
      roomId,
      version,
      from: from.slice(-maxFrom),
      to: to.map(({ eventId }) => eventId),
      lacking,
      servers: [server],
      limit: parts.limits.missingEvents - this.#found.size,
      maxBytes: parts.limits.searchBytes - this.#bytes,
    })
    const left = this.#findAll(fetched, server)
    this.#lacking = new Set([...fetched.lacking.filter((id) => !this.#found.has(id)), ...left])
    for (const id of lacking) if (!this.#found.has(id)) this.#lacking.add(id)
    // Some may have come by themselves.
    for (const id of (await this.#known.standing([...this.#lacking])).keys())
      this.#lacking.delete(id)
  }

  /** Keeps what was found, the newest first; answers what there is no room for. */
  #findAll({ events, rejected }: FetchedEvents, server: string): string[] {
    const reasons = new Map(rejected.map(({ event, reason }) => [event.eventId, reason]))
    const left: string[] = []
    for (const { event } of [...rejected, ...events].toReversed()) {
      const text = canonicalEvent(event.version, event.pdu)!
      this.#isFull ||= !this.lane.parts.memory.find(text.length)
      if (this.#isFull) {
        left.push(event.eventId)
        continue
      }
      this.#bytes += text.length
      const rejection = reasons.get(event.eventId)
      this.#found.set(event.eventId, { event, text, rejection, server })
    }
    this.#isFull ||= this.#bytes >= this.lane.parts.limits.searchBytes
    return left
  }

  /** Events that wait for others: what was found and is not given to the lane, and the parked ones. */
  get #waiting(): RoomEvent[] {
    const found = [...this.#found.values()].filter(
      ({ event }) => !this.#released.has(event.eventId),
    )
    return [
      ...found.map(({ event }) => event),
      ...this.left.map((id) => this.#roots.get(id)!.event),
    ]
  }

  /** What has its place in the graph, and what was found, which will have. */
  get #known() {
    const accepted: CheckedEvent[] = []
    for (const { event } of this.#found.values()) accepted.push({ event, redacted: false })
    const found = { ids: [], accepted, rejected: [], dropped: [], lacking: [] }
    return withEvents(knownIn(this.lane, 'placed'), [found])
  }

  /** Auth events that lack are stored beside the graph, with their own. */
  async #askAuth({ roomId, version }: Room, server: string, fetching: Fetching): Promise<void> {
    const createId = version.createEventIsRoomId ? createOfRoomId(roomId) : undefined
    const waiting = this.#waiting
    const cited = new Set(waiting.flatMap(({ authEvents }) => authEvents))
    const outside = [...cited].filter((id) => id !== createId && !this.#found.has(id))
    const there = await fetching.known!.standing(outside)
    this.#lackingAuth = new Set(outside.filter((id) => !there.has(id)))
    if (this.#lackingAuth.size === 0) return
    const citing = waiting.find(({ authEvents }) => authEvents.some((id) => this.looksFor(id)))
    const checked = await fetchAuth({
      ...fetching,
      roomId,
      version,
      eventIds: [...this.#lackingAuth],
      servers: [server],
      ...(citing && { citedBy: citing.eventId }),
    })
    if (this.#stopped) return
    await keepOutliers(this.lane, checked)
    for (const { event } of [...checked.accepted, ...checked.rejected])
      this.#lackingAuth.delete(event.eventId)
  }

  /** Gives the lane what lacks nothing any more, parents first. */
  async #release(befores: ReadonlyMap<string, StateMap>): Promise<void> {
    const prevsOf = (id: string) => this.#found.get(id)?.event.prevEvents
    const { order, cyclic } = await orderByParents(this.#found.keys(), prevsOf, new Pace())
    const blocked = new Set(cyclic)
    const behind = this.#behind(order)
    const ready: Incoming[] = []
    for (const id of order) {
      if (this.#released.has(id)) continue
      const { event, text, rejection, server: origin } = this.#found.get(id)!
      const before = befores.get(id)
      const lacks =
        event.authEvents.some((auth) => this.#lackingAuth.has(auth) || blocked.has(auth)) ||
        (!before && event.prevEvents.some((prev) => this.#lacking.has(prev) || blocked.has(prev)))
      if (lacks) {
        blocked.add(id)
        continue
      }
      this.#released.add(id)
      const incoming: Incoming = {
        eventId: id,
        event,
        text,
        origin,
        rejection,
        inboxIds: [],
        ...(before && { before }),
        ...(behind.has(id) && { behind: [...behind.get(id)!] }),
      }
      // If it lacks something in the lane, there is no point in looking for that again now.
      this.#searched.add(incoming)
      ready.push(incoming)
    }
    this.lane.inbound.release(ready)
  }

  /**
   * What was found and lies behind a gap, as an ancestor of what is missing there: with the events that
   * cite what is missing. It is no news, and reads before these.
   */
  #behind(order: readonly string[]): Map<string, Set<number>> {
    const behind = new Map<string, Set<number>>()
    // Children come before their parents.
    for (const id of order.toReversed()) {
      const citing = [...(this.lane.room?.missing.get(id) ?? []), ...(behind.get(id) ?? [])]
      if (citing.length === 0) continue
      for (const prev of this.#found.get(id)!.event.prevEvents) {
        if (!this.#found.has(prev)) continue
        const all = behind.get(prev) ?? new Set()
        for (const nid of citing) all.add(nid)
        behind.set(prev, all)
      }
    }
    return behind
  }

  /**
   * The state before events whose ancestors cannot be had takes the ancestors' place. It comes with its
   * auth chain, in which may be what they cite and lack.
   */
  async #replace(room: Room): Promise<void> {
    const { park } = this.lane.inbound
    const bottoms = this.#waiting.filter(({ prevEvents }) =>
      prevEvents.some((id) => this.#lacking.has(id)),
    )
    const befores = new Map<string, StateMap>()
    for (const { eventId } of bottoms.slice(0, maxStates)) {
      const first = this.#found.get(eventId)?.server ?? this.origin
      const servers = serversOf(this.lane, room, [first]).slice(0, maxStateServers)
      const before = await fetchState(this.lane, room, eventId, servers)
      if (this.#stopped) return
      if (before) befores.set(eventId, before)
    }
    if (befores.size > 0 && this.#lackingAuth.size > 0) {
      const there = await knownIn(this.lane, 'all').standing([...this.#lackingAuth])
      for (const id of there.keys()) this.#lackingAuth.delete(id)
    }
    for (const [id, before] of befores) {
      const { authEvents = [] } = this.#roots.get(id)?.event ?? {}
      if (!this.#roots.has(id) || authEvents.some((auth) => this.#lackingAuth.has(auth))) continue
      const incoming = park.remove(id)
      if (!incoming) continue
      const replaced = { ...incoming, before }
      this.#searched.add(replaced)
      this.lane.inbound.release([replaced])
    }
    await this.#release(befores)
  }

  /** Parked events of which something cannot be had. */
  get #hopeless(): string[] {
    const coming = (id: string) => this.#released.has(id) || !this.#unfound(id)
    return this.lane.inbound
      .roots()
      .filter(({ event, missing }) => this.has(event.eventId) && !missing.every(coming))
      .map(({ event }) => event.eventId)
  }

  /** It was looked for, and was not had, or what it rests on was not. */
  #unfound(id: string): boolean {
    return this.looksFor(id) || (this.#found.has(id) && !this.#released.has(id))
  }
}
