import type { Raw } from '#engine/room/inbox/incoming.ts'
import type { Limits } from '#engine/room/limits.ts'

/** What a row weighs beside its text, about: an entry, a parsed event, its place in queues. */
export const rowBytes = 1_000

/** What an entry weighs. */
export const bytesOf = ({ json, checked }: Raw): number =>
  json.length + (checked?.signed.length ?? 0) + rowBytes

/** A lane that reads its inbox. */
export interface Reader {
  /** Bytes of it in memory that are worked off, and not set aside. */
  readonly bytes: number
  /** Whether it would read on if it were let. */
  readonly wants: boolean
  run(): void
}

/**
 * What a room worker has of the inbox in memory, in bytes. Below a soft bound each lane reads on up to
 * its own; above it only lanes that have nothing, so that a flood of large events in some rooms does not
 * keep the others out; at twice that nobody does. What waits for the network is counted apart: it may
 * stay for long, and must not keep anything out that could go on.
 */
export class InboxMemory {
  readonly #limits: Limits
  /** Those that wait to be let, in the order in which they asked. */
  readonly #waiting = new Set<Reader>()
  readonly #reading = new Map<Reader, number>()
  readonly #parkedOf = new Map<string, number>()
  #bytes = 0
  #reserved = 0
  #asideBytes = 0
  #parked = 0
  #remembered = 0
  #foundBytes = 0
  #settling = false

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** For a metric each. */
  gauges() {
    return {
      inboxBytes: this.#bytes,
      inboxReading: this.#reading.size,
      inboxReadersWaiting: this.#waiting.size,
      asideBytes: this.#asideBytes,
      parkedInAll: this.#parked,
      putOffRemembered: this.#remembered,
      searchBytes: this.#foundBytes,
    }
  }

  /** Whether a lane may take so much more into memory; else it leaves it in the inbox. */
  fits(lane: Reader, bytes: number): boolean {
    const { inboxBytes, laneBytes } = this.#limits
    const after = this.#bytes + this.#reserved + bytes
    if (lane.bytes === 0) return after <= 2 * inboxBytes
    return after <= inboxBytes && lane.bytes + bytes <= laneBytes
  }

  hold(bytes: number): void {
    this.#bytes += bytes
  }

  free(bytes: number): void {
    this.#bytes -= bytes
    this.#settle()
  }

  /**
   * How many bytes a lane may read now. None: it is run again when it may, if it has nothing in memory;
   * else it comes by itself when it has worked off what it has.
   */
  begin(lane: Reader): number {
    const { inboxBytes, laneBytes, readersAtOnce } = this.#limits
    if (this.#reading.size >= readersAtOnce) return this.#wait(lane)
    const taken = this.#bytes + this.#reserved
    const bytes = laneBytes - lane.bytes
    const isFull = lane.bytes === 0 ? taken >= 2 * inboxBytes : taken >= inboxBytes
    if (isFull || bytes <= 0) return lane.bytes === 0 ? this.#wait(lane) : 0
    // Above the soft bound one event, whatever it weighs.
    const granted = taken >= inboxBytes ? 1 : bytes
    this.#waiting.delete(lane)
    this.#reading.set(lane, granted)
    this.#reserved += granted
    return granted
  }

  /** It has read, and holds what it read. */
  end(lane: Reader): void {
    this.#reserved -= this.#reading.get(lane) ?? 0
    this.#reading.delete(lane)
    this.#settle()
  }

  /** How many lanes wait to read. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Whether so many bytes may be kept while something is asked of the network. */
  mayWait(bytes: number): boolean {
    return this.#asideBytes + bytes <= this.#limits.asideBytes
  }

  setAside(bytes: number): void {
    this.#asideBytes += bytes
  }

  takeBack(bytes: number): void {
    this.#asideBytes -= bytes
  }

  /** Counts an event that is to be parked; false if there are too many, in all or of its origin. */
  park(origin: string, bytes: number): boolean {
    const { parkedInAll, parkedOfOrigin } = this.#limits
    const own = this.#parkedOf.get(origin) ?? 0
    if (this.#parked >= parkedInAll || own >= parkedOfOrigin || !this.mayWait(bytes)) return false
    this.#parked++
    this.#parkedOf.set(origin, own + 1)
    this.#asideBytes += bytes
    return true
  }

  unpark(origin: string, bytes: number): void {
    this.#parked--
    this.#asideBytes -= bytes
    const left = this.#parkedOf.get(origin)! - 1
    if (left > 0) this.#parkedOf.set(origin, left)
    else this.#parkedOf.delete(origin)
  }

  /** Counts rows that were put off and are remembered; false if there are too many. */
  remember(rows: number): boolean {
    if (this.#remembered + rows > this.#limits.putOffInAll) return false
    this.#remembered += rows
    return true
  }

  unremember(rows: number): void {
    this.#remembered -= rows
  }

  /** Counts what searches for missing events have found; false if it is too much. */
  find(bytes: number): boolean {
    if (this.#foundBytes + bytes > this.#limits.searchBytesInAll) return false
    this.#foundBytes += bytes
    return true
  }

  unfind(bytes: number): void {
    this.#foundBytes -= bytes
  }

  #wait(lane: Reader): 0 {
    this.#waiting.add(lane)
    return 0
  }

  /** Lets on those that waited longest, a moment later: much is freed at once. */
  #settle(): void {
    if (this.#settling || this.#waiting.size === 0) return
    this.#settling = true
    queueMicrotask(() => {
      this.#settling = false
      let free = this.#limits.readersAtOnce - this.#reading.size
      if (this.#bytes + this.#reserved >= 2 * this.#limits.inboxBytes) return
      for (const lane of this.#waiting) {
        if (free <= 0) break
        this.#waiting.delete(lane)
        if (!lane.wants) continue
        free--
        lane.run()
      }
    })
  }
}

/** The rows of the inbox that one lane has in memory, by number, wherever they are. */
export class HeldRows {
  readonly #memory: InboxMemory
  /** What each weighs; negative where it is set aside. */
  readonly #rows = new Map<number, number>()
  /** Of what is not set aside. */
  bytes = 0

  constructor(memory: InboxMemory) {
    this.#memory = memory
  }

  get ids(): number[] {
    return [...this.#rows.keys()]
  }

  get size(): number {
    return this.#rows.size
  }

  /** False if it is held already. */
  add(inboxId: number, bytes: number): boolean {
    if (this.#rows.has(inboxId)) return false
    this.#rows.set(inboxId, bytes)
    this.#count(bytes)
    return true
  }

  delete(inboxId: number): void {
    const bytes = this.#rows.get(inboxId)
    if (bytes === undefined) return
    this.#rows.delete(inboxId)
    if (bytes > 0) this.#count(-bytes)
  }

  /** They wait for something that others must tell. */
  setAside(inboxIds: Iterable<number>): void {
    for (const id of inboxIds) {
      const bytes = this.#rows.get(id) ?? 0
      if (bytes <= 0) continue
      this.#rows.set(id, -bytes)
      this.#count(-bytes)
    }
  }

  takeBack(inboxIds: Iterable<number>): void {
    for (const id of inboxIds) {
      const bytes = this.#rows.get(id) ?? 0
      if (bytes >= 0) continue
      this.#rows.set(id, -bytes)
      this.#count(-bytes)
    }
  }

  #count(bytes: number): void {
    this.bytes += bytes
    if (bytes > 0) this.#memory.hold(bytes)
    else this.#memory.free(-bytes)
  }
}
