import { addPair, emptyHash, hashText, removePair, type SetHash } from './state-hash.ts'

/**
 * A stretch of a state: state key numbers, ascending, and their events. Never changed once made, so
 * that the states of a room share what they have in common.
 */
export type Chunk = {
  readonly keys: Float64Array
  readonly events: Float64Array
  /** In how many states of a cache it is: counted by the cache alone. */
  refs: number
}

export type Change = { key: number; old: number | undefined; new: number | undefined }

/** A chunk that grows beyond this is split in two. */
const largest = 512

export const chunkBytes = (chunk: Chunk): number => 16 * chunk.keys.length + 200

/**
 * A room state: event numbers by state key numbers. Immutable; `with` makes another that shares all
 * but the changed chunks, so one change in a room of 50,000 members copies some kilobytes, and two
 * states of a room are compared without looking at what they share.
 */
export class StateMap {
  static readonly empty = new StateMap([], 0, emptyHash())

  readonly chunks: readonly Chunk[]
  readonly size: number
  readonly hash: SetHash
  #text: string | undefined

  private constructor(chunks: readonly Chunk[], size: number, hash: SetHash) {
    this.chunks = chunks
    this.size = size
    this.hash = hash
  }

  /** Its hash, to look it up by. */
  get text(): string {
    return (this.#text ??= hashText(this.hash))
  }

  /** Of sorted arrays of one length. The hash is worked out unless it is known. */
  static of(keys: Float64Array, events: Float64Array, known?: SetHash): StateMap {
    const hash = known ?? emptyHash()
    if (!known) for (let at = 0; at < keys.length; at++) addPair(hash, keys[at]!, events[at]!)
    const chunks: Chunk[] = []
    pushChunks(chunks, keys, events)
    return new StateMap(chunks, keys.length, hash)
  }

  /** Of pairs in any order; each key once. */
  static from(pairs: Iterable<readonly [key: number, event: number]>): StateMap {
    const sorted = [...pairs].sort((a, b) => a[0] - b[0])
    return StateMap.of(
      Float64Array.from(sorted, ([key]) => key),
      Float64Array.from(sorted, ([, event]) => event),
    )
  }

  get(key: number): number | undefined {
    const chunk = this.chunks[chunkAt(this.chunks, key)]
    if (!chunk) return undefined
    const at = search(chunk.keys, key)
    return chunk.keys[at] === key ? chunk.events[at] : undefined
  }

  *[Symbol.iterator](): Generator<[key: number, event: number]> {
    for (const { keys, events } of this.chunks)
      for (let at = 0; at < keys.length; at++) yield [keys[at]!, events[at]!]
  }

  /** Two flat arrays: a copy, as long as the state. */
  packed(): { keys: Float64Array; events: Float64Array } {
    const keys = new Float64Array(this.size)
    const events = new Float64Array(this.size)
    let at = 0
    for (const chunk of this.chunks) {
      keys.set(chunk.keys, at)
      events.set(chunk.events, at)
      at += chunk.keys.length
    }
    return { keys, events }
  }

  /** The state after some changes; undefined takes a key away. */
  with(changes: Iterable<readonly [key: number, event: number | undefined]>): StateMap {
    const sorted = [...new Map(changes)].sort((a, b) => a[0] - b[0])
    const hash = this.hash.slice()
    const chunks: Chunk[] = []
    let size = this.size
    let changed = false
    let next = 0
    const count = Math.max(this.chunks.length, 1)
    for (let index = 0; index < count; index++) {
      const chunk = this.chunks[index]
      const limit = this.chunks[index + 1]?.keys[0] ?? Infinity
      const first = next
      while (next < sorted.length && sorted[next]![0] < limit) next++
      const rebuilt = next > first && rebuild(chunk, sorted.slice(first, next), hash)
      if (rebuilt) {
        changed = true
        size += rebuilt.keys.length - (chunk?.keys.length ?? 0)
        pushChunks(chunks, rebuilt.keys, rebuilt.events)
      } else if (chunk) chunks.push(chunk)
    }
    return changed ? new StateMap(chunks, size, hash) : this
  }

  /** Where another state differs from this one, by key. */
  diff(other: StateMap): Change[] {
    const changes: Change[] = []
    const [ours, theirs] = [this.chunks, other.chunks]
    let [chunk, at, otherChunk, otherAt] = [0, 0, 0, 0]
    while (chunk < ours.length || otherChunk < theirs.length) {
      const a = ours[chunk]
      const b = theirs[otherChunk]
      if (a && a === b && at === 0 && otherAt === 0) {
        chunk++
        otherChunk++
        continue
      }
      const key = a ? a.keys[at]! : Infinity
      const otherKey = b ? b.keys[otherAt]! : Infinity
      const old = key <= otherKey ? a!.events[at] : undefined
      const now = otherKey <= key ? b!.events[otherAt] : undefined
      if (old !== now) changes.push({ key: Math.min(key, otherKey), old, new: now })
      if (key <= otherKey && ++at === a!.keys.length) {
        at = 0
        chunk++
      }
      if (otherKey <= key && ++otherAt === b!.keys.length) {
        otherAt = 0
        otherChunk++
      }
    }
    return changes
  }
}

/**
 * The keys that are not the same in all states, with the event of each state. Now and then it gives
 * `undefined` in between, where whoever works in steps may yield.
 */
export function* walkDifferences(
  states: readonly StateMap[],
): Generator<{ key: number; events: (number | undefined)[] } | undefined> {
  const chunk = states.map(() => 0)
  const at = states.map(() => 0)
  const current = (state: number) => states[state]!.chunks[chunk[state]!]
  for (let step = 1; ; step++) {
    if (step % 4096 === 0) yield undefined
    const shared = current(0)
    if (shared && states.every((_, state) => at[state] === 0 && current(state) === shared)) {
      for (let state = 0; state < states.length; state++) chunk[state]!++
      continue
    }
    let key = Infinity
    for (let state = 0; state < states.length; state++)
      key = Math.min(key, current(state)?.keys[at[state]!] ?? Infinity)
    if (key === Infinity) return
    const events: (number | undefined)[] = []
    for (let state = 0; state < states.length; state++) {
      const here = current(state)
      if (here?.keys[at[state]!] !== key) {
        events.push(undefined)
        continue
      }
      events.push(here.events[at[state]!])
      if (++at[state]! === here.keys.length) {
        at[state] = 0
        chunk[state]!++
      }
    }
    if (events.some((event) => event !== events[0])) yield { key, events }
  }
}

/** The chunk that holds a key, or would: the last that begins at or before it; else the first. */
function chunkAt(chunks: readonly Chunk[], key: number): number {
  let low = 0
  let high = chunks.length - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if (chunks[middle]!.keys[0]! <= key) low = middle
    else high = middle - 1
  }
  return low
}

/** The index of the first key that is not smaller. */
function search(keys: Float64Array, key: number): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}

/** A chunk with changes applied, and the hash moved along; undefined if nothing changes. */
function rebuild(
  chunk: Chunk | undefined,
  changes: readonly (readonly [number, number | undefined])[],
  hash: SetHash,
): { keys: Float64Array; events: Float64Array } | undefined {
  const length = chunk?.keys.length ?? 0
  const keys = new Float64Array(length + changes.length)
  const events = new Float64Array(length + changes.length)
  let size = 0
  let from = 0
  let changed = false
  const copyTo = (to: number) => {
    if (!chunk || to <= from) return
    keys.set(chunk.keys.subarray(from, to), size)
    events.set(chunk.events.subarray(from, to), size)
    size += to - from
    from = to
  }
  for (const [key, event] of changes) {
    const at = chunk ? search(chunk.keys, key) : 0
    copyTo(at)
    const old = chunk?.keys[at] === key ? chunk.events[at] : undefined
    if (old !== event) {
      changed = true
      if (old !== undefined) removePair(hash, key, old)
      if (event !== undefined) addPair(hash, key, event)
    }
    if (old !== undefined) from = at + 1
    if (event === undefined) continue
    keys[size] = key
    events[size] = event
    size++
  }
  copyTo(length)
  return changed ? { keys: keys.slice(0, size), events: events.slice(0, size) } : undefined
}

function pushChunks(chunks: Chunk[], keys: Float64Array, events: Float64Array): void {
  if (keys.length <= largest) {
    if (keys.length > 0) chunks.push({ keys, events, refs: 0 })
    return
  }
  const count = Math.ceil(keys.length / (largest / 2))
  for (let part = 0; part < count; part++) {
    const from = Math.floor((part * keys.length) / count)
    const to = Math.floor(((part + 1) * keys.length) / count)
    chunks.push({ keys: keys.slice(from, to), events: events.slice(from, to), refs: 0 })
  }
}
