import type { Entry } from './presence-entry.ts'

export type LogLimits = {
  /** Users that are remembered, those who are offline among them. */
  users: number
  /** Their rooms in all. */
  rooms: number
}

/** Users that are looked at for one that may be forgotten. */
const maxSteps = 100

type Change = { readonly at: number; readonly entry: Entry }

/**
 * Everybody whose presence is known: in the order in which it last changed, and by their rooms. Bounded:
 * whose presence changed longest ago is forgotten, and `floor` says from where on no change is missing.
 */
export class PresenceLog {
  readonly #limits: LogLimits
  readonly #entries = new Map<string, Entry>()
  /** Who is in a room, of those who are not offline. */
  readonly #present = new Map<number, Set<Entry>>()
  #changes: Change[] = []
  #at = 0
  #floor = 0
  #rooms = 0

  constructor(limits: LogLimits) {
    this.#limits = limits
  }

  /** The position of the last change; 0 before the first. */
  get at(): number {
    return this.#at
  }

  /** No change after this position was forgotten. */
  get floor(): number {
    return this.#floor
  }

  get size(): number {
    return this.#entries.size
  }

  find(userId: string): Entry | undefined {
    return this.#entries.get(userId)
  }

  values(): Iterable<Entry> {
    return this.#entries.values()
  }

  add(entry: Entry): void {
    this.#entries.set(entry.userId, entry)
    this.#trim()
  }

  remove(entry: Entry): void {
    if (!this.#entries.delete(entry.userId)) return
    this.setRooms(entry, undefined)
    entry.at = entry.roomsAt = 0
  }

  /** Notes that something of a user is to be told. */
  changed(entry: Entry): void {
    entry.at = ++this.#at
    this.#changes.push({ at: entry.at, entry })
    // The longest unchanged are found in front.
    if (this.#entries.delete(entry.userId)) this.#entries.set(entry.userId, entry)
    this.#index(entry, entry.rooms, entry.shown.state !== 'offline')
    if (this.#changes.length > 64 + 2 * this.#entries.size)
      this.#changes = this.#changes.filter((change) => change.entry.at === change.at)
  }

  /** Says which rooms a user is in; undefined: it is not known. */
  setRooms(entry: Entry, rooms: ReadonlySet<number> | undefined): void {
    this.#index(entry, entry.rooms, false)
    this.#rooms += (rooms?.size ?? 0) - (entry.rooms?.size ?? 0)
    entry.rooms = rooms
    this.#index(entry, rooms, entry.at > 0 && entry.shown.state !== 'offline')
    this.#trim()
  }

  /** Whose presence changed after a position, in that order. */
  *changedAfter(since: number): Generator<Entry> {
    let low = 0
    let high = this.#changes.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#changes[middle]!.at <= since) low = middle + 1
      else high = middle
    }
    for (; low < this.#changes.length; low++) {
      const { at, entry } = this.#changes[low]!
      if (entry.at === at) yield entry
    }
  }

  /** Who is in a room and not offline. */
  presentIn(roomNid: number): Iterable<Entry> {
    return this.#present.get(roomNid) ?? []
  }

  #index(entry: Entry, rooms: ReadonlySet<number> | undefined, isPresent: boolean): void {
    for (const roomNid of rooms ?? []) {
      const there = this.#present.get(roomNid)
      if (isPresent) {
        if (there) there.add(entry)
        else this.#present.set(roomNid, new Set([entry]))
      } else if (there?.delete(entry) && there.size === 0) this.#present.delete(roomNid)
    }
  }

  #trim(): void {
    const { users, rooms } = this.#limits
    // Those of ours who are there stay: each has a client that is connected.
    for (let steps = 0; steps < maxSteps; steps++) {
      if (this.#entries.size <= users && this.#rooms <= rooms) return
      const [oldest] = this.#entries.values()
      if (!oldest) return
      if (oldest.devices.size === 0) {
        this.#floor = Math.max(this.#floor, oldest.at)
        this.remove(oldest)
        continue
      }
      this.#entries.delete(oldest.userId)
      this.#entries.set(oldest.userId, oldest)
    }
  }
}
