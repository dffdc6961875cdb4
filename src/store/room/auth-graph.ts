import type { Steps } from '#core/state-res/steps.ts'
import { NidIndex } from './nid-index.ts'

/** An event with its number, and the numbers of what it cites. */
export type AuthNode = { eventNid: number; order: number; parents: ArrayLike<number> }

const nodesPerStep = 8192
/** The same of numbers that are looked up. */
const looksPerStep = 2048
/** States that one pass can tell apart: a bit each. */
const statesPerPass = 30

/**
 * The auth events of a room, as a graph in memory: state events whose whole auth chain is here, numbered
 * so that what an event cites has a smaller number. So every question is one walk over arrays in the
 * order of the numbers. An event that is not in it (its chain is not complete) counts as one that cites
 * nothing. The create event of v12+ is cited by none, and so is in no chain.
 */
export class AuthGraph {
  #length = 0
  #nids = new Float64Array(64)
  /** Where the parents of each node begin; one more than there are nodes. */
  #starts = new Uint32Array(65)
  #parents = new Int32Array(256)
  /** Which nodes others cite. */
  #cited = new Uint8Array(64)
  readonly #orders = new NidIndex()

  /** How many nodes there are: the next number. */
  get length(): number {
    return this.#length
  }
  get bytes(): number {
    return (
      200 +
      this.#nids.byteLength +
      this.#starts.byteLength +
      this.#parents.byteLength +
      this.#cited.byteLength +
      this.#orders.bytes
    )
  }

  has(nid: number): boolean {
    return this.#orders.get(nid) >= 0
  }
  /** The number of an event; −1 if it is not here. */
  orderOf(nid: number): number {
    return this.#orders.get(nid)
  }

  /** Whether another event that is here cites it. */
  isCited(nid: number): boolean {
    return this.#cited[this.#orders.get(nid)] === 1
  }

  /** Adds nodes in the order of their numbers; those that are there already are passed over. */
  append(nodes: Iterable<AuthNode>): void {
    for (const { eventNid, order, parents } of nodes) {
      if (order < this.#length) continue
      if (order > this.#length) throw new Error(`Auth graph: ${order} follows ${this.#length - 1}`)
      this.#push(eventNid, parents)
    }
  }

  #push(nid: number, parents: ArrayLike<number>): void {
    const order = this.#length
    const start = this.#starts[order]!
    const end = start + parents.length
    if (order === this.#nids.length) {
      this.#nids = grow(this.#nids, order + 1)
      this.#starts = grow(this.#starts, order + 2)
      this.#cited = grow(this.#cited, order + 1)
    }
    if (end > this.#parents.length) this.#parents = grow(this.#parents, end)
    this.#nids[order] = nid
    this.#starts[order + 1] = end
    this.#parents.set(parents, start)
    for (let at = 0; at < parents.length; at++) this.#cited[parents[at]!] = 1
    this.#orders.set(nid, order)
    this.#length++
  }

  /**
   * ∪Cᵢ − ∩Cᵢ for the auth chains Cᵢ of some states, an event's chain holding the event itself:
   * `perState` are the events in which each state differs, `shared` those that are in all of them.
   *
   * Spec: rooms/v2/#definitions (auth difference)
   */
  *difference(perState: readonly (readonly number[])[], shared: Iterable<number>): Steps<number[]> {
    const outside = yield* this.#outsideDifference(perState)
    const common = yield* this.#mark(shared)
    const found =
      perState.length <= statesPerPass
        ? yield* this.#paint(perState, common)
        : yield* this.#differenceOfMany(perState, common)
    for (const nid of outside) found.push(nid)
    return found
  }

  /** Events that are not in the graph are in the difference unless every state has them. */
  *#outsideDifference(perState: readonly (readonly number[])[]): Steps<number[]> {
    const counts = new Map<number, number>()
    for (const events of perState) {
      const outside = new Set<number>()
      for (const [index, nid] of events.entries()) {
        if (!this.has(nid)) outside.add(nid)
        if (index % looksPerStep === looksPerStep - 1) yield
      }
      for (const nid of outside) counts.set(nid, (counts.get(nid) ?? 0) + 1)
    }
    return Array.from(counts)
      .filter(([, count]) => count < perState.length)
      .map(([nid]) => nid)
  }

  /** Walks down from all states at once; each node has the colours of the states that lead to it. */
  *#paint(perState: readonly (readonly number[])[], common: Uint8Array): Steps<number[]> {
    const colours = new Uint32Array(this.#length)
    const full = 2 ** perState.length - 1
    let top = -1
    let lowestPartial = this.#length
    let step = 0
    for (const [state, events] of perState.entries())
      for (const nid of events) {
        if (++step % looksPerStep === 0) yield
        const order = this.#orders.get(nid)
        if (order < 0) continue
        colours[order]! |= 1 << state
        top = Math.max(top, order)
        lowestPartial = Math.min(lowestPartial, order)
      }
    // Below the lowest node that not all states lead to, nothing can differ. A shared event may lie
    // above all that differ, and leads down all the same.
    const found: number[] = []
    const parents = this.#parents
    for (let order = this.#length - 1; order >= lowestPartial; order--) {
      if ((this.#length - order) % nodesPerStep === 0) yield
      const colour = common[order] === 1 ? full : colours[order]!
      if (colour === 0) continue
      if (colour !== full) found.push(this.#nids[order]!)
      const end = this.#starts[order + 1]!
      for (let at = this.#starts[order]!; at < end; at++) {
        const parent = parents[at]!
        colours[parent]! |= colour
        if (colour !== full && parent < lowestPartial) lowestPartial = parent
      }
    }
    return found
  }

  /** Beyond 30 states, one chain after another. */
  *#differenceOfMany(
    perState: readonly (readonly number[])[],
    common: Uint8Array,
  ): Steps<number[]> {
    const counts = new Uint32Array(this.#length)
    const shared = yield* this.#below(common)
    for (const events of perState) {
      const chain = yield* this.#below(yield* this.#mark(events))
      for (let order = 0; order < counts.length; order++) counts[order]! += chain[order]!
      yield
    }
    const found: number[] = []
    for (let order = 0; order < counts.length; order++) {
      if (order % nodesPerStep === 0) yield
      const count = counts[order]!
      if (count > 0 && count < perState.length && shared[order] === 0)
        found.push(this.#nids[order]!)
    }
    return found
  }

  /**
   * Every event on a path of auth edges between two of these, and these. `above` is what those of them
   * cite that are not in the graph.
   *
   * Spec: rooms/v12/#definitions (conflicted state subgraph)
   */
  *subgraph(conflicted: Iterable<number>, above: readonly number[] = []): Steps<number[]> {
    const given = [...conflicted]
    const ends = yield* this.#mark(given)
    const below = yield* this.#below(yield* this.#mark([...given, ...above]))
    const between = ends.slice()
    const found = yield* this.#strangers(given)
    for (let order = 0; order < this.#length; order++) {
      if (order % nodesPerStep === 0) yield
      if (below[order] === 0) continue
      const end = this.#starts[order + 1]!
      for (let at = this.#starts[order]!; at < end && between[order] === 0; at++)
        between[order] = between[this.#parents[at]!]!
      if (between[order] === 1) found.push(this.#nids[order]!)
    }
    return found
  }

  /**
   * All that these events lead to, what is cited before what cites it; the events themselves too if
   * asked for.
   */
  *chain(events: Iterable<number>, withEvents: boolean): Steps<number[]> {
    const given = [...events]
    const marked = yield* this.#mark(given)
    const chain = yield* this.#below(marked)
    if (!withEvents) {
      // A given event belongs to the chain only if another one leads to it.
      const inner = new Uint8Array(this.#length)
      for (let order = 0; order < this.#length; order++) {
        if (order % nodesPerStep === 0) yield
        if (chain[order] === 0) continue
        const end = this.#starts[order + 1]!
        for (let at = this.#starts[order]!; at < end; at++) inner[this.#parents[at]!] = 1
      }
      return yield* this.#list(inner)
    }
    const found = yield* this.#list(chain)
    for (const nid of yield* this.#strangers(given)) found.push(nid)
    return found
  }

  *#list(marked: Uint8Array): Steps<number[]> {
    const found: number[] = []
    for (let order = 0; order < marked.length; order++) {
      if (order % nodesPerStep === 0) yield
      if (marked[order] === 1) found.push(this.#nids[order]!)
    }
    return found
  }

  /** Those that are not in the graph. */
  *#strangers(given: readonly number[]): Steps<number[]> {
    const found: number[] = []
    for (const [index, nid] of given.entries()) {
      if (index % looksPerStep === 0) yield
      if (!this.has(nid)) found.push(nid)
    }
    return found
  }

  *#mark(events: Iterable<number>): Steps<Uint8Array> {
    const marked = new Uint8Array(this.#length)
    let step = 0
    for (const nid of events) {
      const order = this.#orders.get(nid)
      if (order >= 0) marked[order] = 1
      if (++step % looksPerStep === 0) yield
    }
    return marked
  }

  /** What is marked, and all that it leads to. */
  *#below(marked: Uint8Array): Steps<Uint8Array> {
    const below = marked.slice()
    for (let order = this.#length - 1; order >= 0; order--) {
      if (order % nodesPerStep === 0) yield
      if (below[order] === 0) continue
      const end = this.#starts[order + 1]!
      for (let at = this.#starts[order]!; at < end; at++) below[this.#parents[at]!] = 1
    }
    return below
  }
}

function grow<A extends Float64Array | Uint32Array | Int32Array | Uint8Array>(
  array: A,
  needed: number,
): A {
  const larger = new (array.constructor as new (length: number) => A)(
    Math.max(needed, Math.ceil(1.5 * array.length)),
  )
  larger.set(array)
  return larger
}
