import { isOwnMembership, usersOf } from '#core/state-res/one-key.ts'
import type { Settled } from '#core/state-res/resolvable.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { Known, Room } from '#engine/room/room.ts'

/** A resolution that was done. */
export type Done = {
  readonly states: readonly StateMap[]
  readonly to: StateMap
  /** How it came about, until a later one goes on from it. */
  how: How | undefined
}

/** What a resolution of v2 or v2.1 rested on: by this one more event may be merged without all of it. */
export class How {
  readonly settled: Settled
  /** Events that are not in all auth chains. */
  readonly difference: Set<number>
  /** v2.1: the conflicted events and what lies between them; and events that lead to none of these. */
  readonly between: Set<number>
  readonly clean = new Set<number>()
  /**
   * By user: the events of the full conflicted set that set their membership, if each is their own
   * doing; null if the set has another that may ask for it.
   */
  readonly users = new Map<string, number[] | null>()

  constructor(
    settled: Settled,
    { difference, between }: { difference: Iterable<number>; between: Iterable<number> },
  ) {
    this.settled = settled
    this.difference = new Set(difference)
    this.between = new Set(between)
  }

  get bytes(): number {
    const { full, made } = this.settled
    const sets = this.difference.size + this.between.size + full.size
    return 40 * sets + 60 * made.size + 150 * this.users.size
  }

  /** Takes note of an event of the full conflicted set: of each, before it is used. */
  note({ nid, event }: Known): void {
    if (!isOwnMembership(event)) for (const user of usersOf(event)) this.users.set(user, null)
    else {
      const list = this.users.get(event.sender)
      if (list === undefined) this.users.set(event.sender, [nid])
      else list?.push(nid)
    }
  }
}

/** So many of a room are kept: several events may be built on the same forks. */
const kept = 16
const bytesOfOne = 20_000

/** The last resolutions of a room: the same states give the same again. */
export class Resolutions {
  readonly #done = new Map<string, Done>()
  #completions = 0

  get bytes(): number {
    let bytes = 0
    for (const { how } of this.#done.values()) bytes += bytesOfOne + (how?.bytes ?? 0)
    return bytes
  }

  find(room: Pick<Room, 'auth'>, states: readonly StateMap[]): Done | undefined {
    if (this.#completions !== room.auth.completions) this.clear()
    this.#completions = room.auth.completions
    const key = keyOf(states)
    const done = this.#done.get(key)
    if (!done) return undefined
    this.#done.delete(key)
    this.#done.set(key, done)
    return done
  }

  /** Keeps one; in the place of that from which it went on, if there is one. */
  keep(done: Done, from?: Done): void {
    if (from) this.#done.delete(keyOf(from.states))
    this.#done.set(keyOf(done.states), done)
    for (const oldest of this.#done.keys()) {
      if (this.#done.size <= kept) break
      this.#done.delete(oldest)
    }
  }

  /** What was known of an event has changed. */
  clear(): void {
    this.#done.clear()
  }
}

const keyOf = (states: readonly StateMap[]) =>
  Array.from(states, ({ text }) => text)
    .sort()
    .join(' ')
