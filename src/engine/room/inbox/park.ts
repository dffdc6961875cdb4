/** What can be parked: an event with an ID, that came from somewhere. */
export type Parkable = Readonly<{ eventId: string; origin: string }>

export type ParkLimits<E> = {
  perRoom: number
  perOrigin: number
  /** Told of each event that is parked no more. */
  onLeave?: (event: E) => void
}

type Parked<E> = { event: E; missing: Set<string>; since: number }

/** What an event lacks that is no event: its policy server's signature, for which nobody else is asked. */
export const signatureOf = (eventId: string): string => `signature of ${eventId}`
const isEvent = (lacked: string) => lacked.startsWith('$')

/**
 * Events of one room that lack ancestors. They wait here, outside the lane, and come back when all
 * that they lack has come: in the order of the graph, since a descendant of a parked event lacks it.
 */
export class Park<E extends Parkable> {
  readonly #limits: ParkLimits<E>
  readonly #byId = new Map<string, Parked<E>>()
  readonly #waitingFor = new Map<string, Set<Parked<E>>>()
  readonly #perOrigin = new Map<string, number>()

  constructor(limits: ParkLimits<E>) {
    this.#limits = limits
  }

  get size(): number {
    return this.#byId.size
  }

  get(eventId: string): E | undefined {
    return this.#byId.get(eventId)?.event
  }

  has(eventId: string): boolean {
    return this.#byId.has(eventId)
  }

  /** Since when the first of them waits; for ever if there is none. */
  get since(): number {
    for (const { since } of this.#byId.values()) return since
    return Infinity
  }

  /** What an event lacks still. */
  missingOf(eventId: string): string[] {
    return [...(this.#byId.get(eventId)?.missing ?? [])]
  }

  /** Parks an event until these have come. False if there is no room for it. */
  add(event: E, missing: Iterable<string>, now: number): boolean {
    const count = this.#perOrigin.get(event.origin) ?? 0
    if (this.#byId.size >= this.#limits.perRoom || count >= this.#limits.perOrigin) return false
    const parked: Parked<E> = { event, missing: new Set(missing), since: now }
    if (parked.missing.size === 0 || this.#byId.has(event.eventId))
      throw new Error('an event is parked once, and only if it lacks something')
    this.#byId.set(event.eventId, parked)
    this.#perOrigin.set(event.origin, count + 1)
    for (const id of parked.missing) {
      const waiting = this.#waitingFor.get(id)
      if (waiting) waiting.add(parked)
      else this.#waitingFor.set(id, new Set([parked]))
    }
    return true
  }

  /** An event is there now: gives back, and forgets, those that lack nothing else. */
  arrived(eventId: string): E[] {
    const waiting = this.#waitingFor.get(eventId)
    if (!waiting) return []
    this.#waitingFor.delete(eventId)
    const ready: E[] = []
    for (const parked of waiting) {
      parked.missing.delete(eventId)
      if (parked.missing.size > 0) continue
      this.#forget(parked)
      ready.push(parked.event)
    }
    return ready
  }

  /** Takes an event out, whatever it lacks; its descendants stay. */
  remove(eventId: string): E | undefined {
    const parked = this.#byId.get(eventId)
    if (!parked) return undefined
    for (const id of parked.missing) {
      const waiting = this.#waitingFor.get(id)
      waiting?.delete(parked)
      if (waiting?.size === 0) this.#waitingFor.delete(id)
    }
    this.#forget(parked)
    return parked.event
  }

  /**
   * Events that lack something which is not parked itself, nor coming anyway: somebody must be asked for
   * it. All others wait for one of these.
   */
  roots(isComing: (eventId: string) => boolean): { event: E; missing: string[]; since: number }[] {
    const roots: { event: E; missing: string[]; since: number }[] = []
    for (const { event, missing, since } of this.#byId.values()) {
      const outside = [...missing].filter(
        (id) => isEvent(id) && !this.#byId.has(id) && !isComing(id),
      )
      if (outside.length > 0) roots.push({ event, missing: outside, since })
    }
    return roots
  }

  /**
   * Events that wait for each other in a ring, and those behind them, by ID: nobody can be asked for
   * what would free them. Only IDs of v1 and v2, which servers choose, can cite each other.
   */
  rings(): string[] {
    const left = new Map(Array.from(this.#byId, ([id, { missing }]) => [id, missing.size] as const))
    const release = (id: string) => {
      for (const { event } of this.#waitingFor.get(id) ?? []) {
        const lacks = left.get(event.eventId)! - 1
        left.set(event.eventId, lacks)
        if (lacks === 0) free.push(event.eventId)
      }
    }
    const free: string[] = []
    for (const id of this.#waitingFor.keys()) if (!this.#byId.has(id)) release(id)
    for (let id = free.pop(); id !== undefined; id = free.pop()) {
      left.delete(id)
      release(id)
    }
    return [...left.keys()]
  }

  /** All parked events that wait for this one, directly or not. */
  descendants(eventId: string): E[] {
    const found = new Map<string, E>()
    const open = [eventId]
    for (let id = open.pop(); id !== undefined; id = open.pop())
      for (const { event } of this.#waitingFor.get(id) ?? []) {
        if (found.has(event.eventId)) continue
        found.set(event.eventId, event)
        open.push(event.eventId)
      }
    return [...found.values()]
  }

  #forget({ event }: Parked<E>): void {
    this.#byId.delete(event.eventId)
    const left = this.#perOrigin.get(event.origin)! - 1
    if (left > 0) this.#perOrigin.set(event.origin, left)
    else this.#perOrigin.delete(event.origin)
    this.#limits.onLeave?.(event)
  }
}
