import { unavailable } from '#core/error.ts'
import { allow, reject, type Verdict } from '#core/verdict.ts'
import { authorize } from '#core/auth/authorize.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { after, lookupIn } from '#engine/room/decide/decide.ts'
import { keysAsked } from '#engine/room/numbers.ts'
import type { Own } from '#engine/room/decide/one-more.ts'
import type { Parts } from '#engine/room/parts.ts'
import { distinct, resolveStates } from '#engine/room/decide/resolve.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { RoomReloaded } from '#engine/room/work.ts'

/** What an event is judged by beside itself. */
export type StatesAround = {
  before: StateMap
  numbers: Interned
  /** The state before it was fetched: some of its prev_events are missing. */
  behindGap: boolean
  /** It comes before a gap that is there: what is current has nothing to say of it, and it says nothing. */
  isHistory: boolean
  prevNids: readonly number[]
  /** A local user waits for it: it is built anew if it is overtaken, and keeps nobody out. */
  isLocal: boolean
  /** Check 7 has failed it already. */
  softFailed: string | undefined
}

/** What a room becomes with one more event. */
export type Merged = {
  revision: number
  extremities: Room['extremities']
  state: StateMap
  softFailed: string | undefined
}

/** So often a merge may be overtaken before it keeps others out. */
const patience = 3

/**
 * Checks an event against the current state of its room, and merges the state after it with that of the
 * room. Local sends go on meanwhile: then it is repeated, from the state after the event, which stays. If
 * that happens too often, local changes of the state are kept out until it is done, `limits.holdMs` at
 * most: messages still do not wait for a resolution, only for the look-ups that follow it. An event that
 * is overtaken even so is given back.
 */
export class Merging {
  readonly #parts: Parts
  readonly #room: Room
  readonly #known: Known
  readonly #states: StatesAround
  readonly #own: StateMap
  readonly #now = new Resolved()
  readonly #merged = new Resolved()
  #overtaken = 0
  /** Until when it may keep others out; undefined: it does not. */
  #until: number | undefined

  constructor(parts: Parts, room: Room, known: Known, states: StatesAround) {
    this.#parts = parts
    this.#room = room
    this.#known = known
    this.#states = states
    this.#own = after(states.before, known)
  }

  /**
   * The outcome of what comes on top of all that is there, and was judged by what is current: no check is
   * left, and nothing to merge. Undefined if it is not as simple as that.
   */
  plain(): Merged | undefined {
    const room = this.#room
    const { before, isHistory, prevNids, softFailed } = this.#states
    if (before !== room.state || isHistory || isRejected(this.#known)) return undefined
    if (softFailed !== undefined) return undefined
    if (room.missing.has(this.#known.event.eventId)) return undefined
    for (const nid of room.extremities.keys()) if (!prevNids.includes(nid)) return undefined
    return {
      revision: room.revision,
      extremities: new Map([[this.#known.nid, { known: this.#known, after: this.#own }]]),
      state: this.#own,
      softFailed: undefined,
    }
  }

  /** The outcome for the room as it is. Before each time but the first, `overtaken` is called. */
  *run(): Task<Merged> {
    for (;;) {
      const merged = yield* this.#try()
      if (this.#room.stale) throw new RoomReloaded()
      if (this.#room.revision === merged.revision) return merged
      this.overtaken()
    }
  }

  /** The room has moved on before the outcome was applied to it. */
  overtaken(): void {
    this.#parts.counters.mergesRepeated++
    if (this.#states.isLocal || ++this.#overtaken <= patience) return
    const now = performance.now()
    this.#until ??= now + this.#parts.limits.holdMs
    if (now >= this.#until)
      throw unavailable('The room changes faster than a fork of it can be merged', 10_000)
    this.#room.holds.state.start(this.#until - now)
  }

  /** Lets in again whom it kept out. */
  end(): void {
    if (this.#until === undefined) return
    this.#room.holds.state.end()
    this.#room.holds.local.end()
  }

  *#try(): Task<Merged> {
    const room = this.#room
    const known = this.#known
    const merged: Merged = {
      revision: room.revision,
      extremities: room.extremities,
      state: room.state,
      softFailed: undefined,
    }
    // Rejected and soft-failed events are cited by nothing of ours; nor is one that others cite.
    if (isRejected(known) || this.#states.isHistory) return merged
    const { softFailed } = this.#states
    const verdict = softFailed === undefined ? yield* this.#judge() : reject(softFailed)
    if (!verdict.allowed) merged.softFailed = verdict.reason
    else if (!room.missing.has(known.event.eventId)) {
      merged.extremities = new Map(room.extremities)
      for (const nid of this.#states.prevNids) merged.extremities.delete(nid)
      merged.extremities.set(known.nid, { known, after: this.#own })
      merged.state = yield* this.#resolve(this.#merged, merged.extremities, [], this.#ofOwn())
    }
    return merged
  }

  /** Check 6: by the current state, otherwise it is soft-failed. */
  *#judge(): Task<Verdict> {
    const room = this.#room
    const { before, numbers, behindGap } = this.#states
    // The state before it, where it passed.
    if (distinct([before, room.state]).length === 1) return allow
    // We may have missed much: its own past has a say in what is current. It is no way around a ban,
    // which resolution would keep.
    const now = behindGap ? yield* this.#resolve(this.#now, room.extremities, [before]) : room.state
    const { event } = this.#known
    const lookup = yield* lookupIn(this.#parts, room, now, keysAsked(event), numbers)
    // Signatures that a rule asks for were checked before.
    return authorize(event, lookup, () => true)
  }

  #ofOwn(): Own {
    const { before, numbers } = this.#states
    return { known: this.#known, before, after: this.#own, numbers }
  }

  *#resolve(
    last: Resolved,
    extremities: Room['extremities'],
    more: readonly StateMap[],
    own?: Own,
  ): Task<StateMap> {
    const afters = Array.from(extremities.values(), (each) => each.after)
    const from = distinct([...afters, ...more])
    const same = last.of(from)
    const to = same ?? (yield* this.#anew(last, from, own))
    // What is left are look-ups: for so long messages are kept out too.
    if (this.#until !== undefined)
      this.#room.holds.local.start(Math.max(0, this.#until - performance.now()))
    return to
  }

  *#anew(last: Resolved, from: readonly StateMap[], own: Own | undefined): Task<StateMap> {
    if (this.#until !== undefined) this.#room.holds.local.end()
    const to = yield* resolveStates(this.#parts, this.#room, from, own)
    last.keep(from, to)
    return to
  }
}

/** A resolution that was done: the same states give the same again. */
class Resolved {
  #from: readonly StateMap[] = []
  #to: StateMap | undefined

  of(from: readonly StateMap[]): StateMap | undefined {
    const same =
      from.length === this.#from.length && from.every((each, index) => each === this.#from[index])
    return same ? this.#to : undefined
  }

  keep(from: readonly StateMap[], to: StateMap): void {
    this.#from = from
    this.#to = to
  }
}
