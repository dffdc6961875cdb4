import type { Raw } from '#engine/room/incoming.ts'
import { bytesOf, type HeldRows } from '#engine/room/inbox-memory.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Prepared } from '#engine/room/prepare.ts'

/** The rows of one lane that wait for keys. One server's keys are asked for at once: no other waits. */
export class KeyWait {
  readonly #parts: Parts
  readonly #held: HeldRows
  readonly #onReady: (entries: Raw[]) => void
  #asked = 0
  /** By origin, what came behind such rows: it would lack the same key, and what those bring. */
  readonly #behind = new Map<string, Raw[]>()
  #behindCount = 0
  /** Since when keys of an origin are being asked for. */
  readonly since = new Map<string, number>()

  constructor(parts: Parts, held: HeldRows, onReady: (entries: Raw[]) => void) {
    this.#parts = parts
    this.#held = held
    this.#onReady = onReady
  }

  get size(): number {
    return this.#asked + this.#behindCount
  }

  /** How many came behind those whose keys are asked for. */
  get behind(): number {
    return this.#behindCount
  }

  /** Whether a row waits because others of its origin do. */
  holdBehind(raw: Raw): boolean {
    const behind = raw.lastTry ? undefined : this.#behind.get(raw.origin)
    if (!behind) return false
    behind.push(raw)
    this.#behindCount++
    this.#setAside([raw])
    return true
  }

  /** Asks for the keys of one server; answers the rows for which there is no room to wait. */
  fetch(origin: string, wanted: Prepared['wantKeys']): number[] {
    const { memory, counters, keys, limits, now, onError } = this.#parts
    const entries = wanted.map(({ raw }) => raw)
    if (!memory.mayWait(entries.reduce((sum, entry) => sum + bytesOf(entry), 0))) {
      counters.notParked += entries.length
      return entries.flatMap(({ inboxId }) => inboxId ?? [])
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
        this.#onReady([...entries.map((entry) => ({ ...entry, lastTry: true })), ...behind])
      })
    return []
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
