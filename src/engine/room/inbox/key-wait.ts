import type { Raw } from '#engine/room/inbox/incoming.ts'
import { bytesOf, type HeldRows } from '#engine/room/inbox/inbox-memory.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Prepared } from '#engine/room/inbox/prepare.ts'
import type { PutOff } from '#engine/room/inbox/put-off.ts'

/** What rows wait for that went back to the inbox for want of keys. */
const keysOf = (origin: string) => `keys of ${origin}`

const idsOf = (entries: readonly Raw[]) => entries.flatMap(({ inboxId }) => inboxId ?? [])

/**
 * The rows of one lane that wait for keys. One server's keys are asked for at once: no other waits. They
 * take at most half of what the lane may hold, so that other servers' rows are read meanwhile.
 */
export class KeyWait {
  readonly #parts: Parts
  readonly #held: HeldRows
  readonly #putOff: PutOff
  readonly #onReady: (entries: Raw[]) => void
  #asked = 0
  /** By origin, what came behind such rows: it would lack the same key, and what those bring. */
  readonly #behind = new Map<string, Raw[]>()
  #behindCount = 0
  /** Since when keys of an origin are being asked for. */
  readonly since = new Map<string, number>()

  constructor(parts: Parts, held: HeldRows, putOff: PutOff, onReady: (entries: Raw[]) => void) {
    this.#parts = parts
    this.#held = held
    this.#putOff = putOff
    this.#onReady = onReady
  }

  get size(): number {
    return this.#asked + this.#behindCount
  }

  get #most(): number {
    return Math.ceil(this.#parts.limits.laneEvents / 2)
  }

  /** Those that need not wait. The others do because rows of their origin do: here, or in the inbox. */
  hold(batch: readonly Raw[]): Raw[] {
    const tooMany: Raw[] = []
    const free = batch.filter((raw) => {
      const behind = raw.lastTry ? undefined : this.#behind.get(raw.origin)
      if (!behind) return true
      if (this.size < this.#most) {
        behind.push(raw)
        this.#behindCount++
        this.#setAside([raw])
      } else tooMany.push(raw)
      return false
    })
    this.#putBack(tooMany)
    return free
  }

  /** Asks for the keys of one server. */
  fetch(origin: string, wanted: Prepared['wantKeys']): void {
    const { memory, counters, keys, limits, now, onError } = this.#parts
    const entries = wanted.map(({ raw }) => raw)
    this.#putBack(entries.splice(Math.max(1, this.#most - this.size)))
    if (!memory.mayWait(entries.reduce((sum, entry) => sum + bytesOf(entry), 0))) {
      this.#putOff.defer(idsOf(entries))
      counters.notParked += entries.length
      return
    }
    this.#setAside(entries)
    this.#asked += entries.length
    if (!this.#behind.has(origin)) this.#behind.set(origin, [])
    if (!this.since.has(origin)) this.since.set(origin, now())
    counters.parkedForKeys += entries.length
    const needed = wanted.flatMap((each) => each.keys)
    void keys
      .fetch(needed, limits.keysMs)
      .catch((error: unknown) => onError(error, 'keys could not be asked for'))
      .then(() => {
        const behind = this.#behind.get(origin) ?? []
        this.#behind.delete(origin)
        this.since.delete(origin)
        this.#behindCount -= behind.length
        this.#asked -= entries.length
        this.#takeBack(entries)
        this.#takeBack(behind)
        const isThere = needed.some(({ server, keyIds }) =>
          keyIds.some((id) => keys.lookup(server, id) !== undefined),
        )
        if (isThere) this.#putOff.arrived(keysOf(origin))
        this.#onReady([...entries.map((entry) => ({ ...entry, lastTry: true })), ...behind])
      })
  }

  /** There are too many: they come again when the keys are there, or when their time has come. */
  #putBack(entries: readonly Raw[]): void {
    this.#parts.counters.notParked += entries.length
    const lacking = entries.flatMap(({ inboxId, origin }) => {
      if (inboxId === undefined) return []
      const event = { eventId: `row ${inboxId}`, origin, inboxIds: [inboxId] }
      return { event, missing: [keysOf(origin)] }
    })
    this.#putOff.pause(idsOf(entries), lacking)
  }

  #setAside(entries: readonly Raw[]): void {
    for (const entry of entries) {
      this.#parts.memory.setAside(bytesOf(entry))
      if (entry.inboxId !== undefined) this.#held.setAside([entry.inboxId])
    }
  }

  #takeBack(entries: readonly Raw[]): void {
    for (const entry of entries) {
      this.#parts.memory.takeBack(bytesOf(entry))
      if (entry.inboxId !== undefined) this.#held.takeBack([entry.inboxId])
    }
  }
}
