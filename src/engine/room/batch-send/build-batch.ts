import { authorize } from '#core/auth/authorize.ts'
import { forbidden } from '#core/error.ts'
import { type AuthSubject, selectAuthEvents } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { eventFlags, type NewEvent } from '#store/room/batch.ts'
import type { Interned } from '#store/room/intern.ts'
import { after } from '#engine/room/decide/decide.ts'
import { type Draft, withIds } from '#engine/room/batch-send/drafts.ts'
import type { BatchPlan } from '#engine/room/batch-send/plan-batch.ts'
import { StateView } from '#engine/room/batch-send/state-view.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import { outlierOf } from '#engine/room/member/outside.ts'
import type { Parts } from '#engine/room/parts.ts'
import { isOutlier, type Known, type Room } from '#engine/room/room.ts'
import { buildLocal } from '#engine/room/local/send.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { Task } from '#engine/room/task.ts'

/** An event of a batch, ready to be placed. */
export type BuiltEvent = {
  known: Known
  /** Left out: the same event is here already. */
  row?: NewEvent
  before: StateMap
  /** What it cites for its right to be. */
  auths: readonly (Pick<Known, 'nid' | 'authOrder'> | undefined)[]
}

export type BuiltBatch = {
  state: BuiltEvent[]
  batch: BuiltEvent[]
  base: BuiltEvent | undefined
}

/** What a batch stands on: events that it follows, the state after them, and how deep it may be. */
export type Ground = {
  prevs: readonly Known[]
  before: StateMap
  /** The depth of each event of the batch, the n-th of all. */
  depthOf: (index: number) => number
}

/** Another lane goes first after so long. */
const turnMs = 3

/**
 * Builds, signs and judges a batch as a line of its own: first its state, which follows what the batch
 * follows, then its events. Other servers can check all of it by what it cites.
 */
export function* buildBatch(
  parts: Parts,
  room: Room,
  plan: BatchPlan,
  { prevs, before, depthOf }: Ground,
): Task<BuiltBatch> {
  const { version } = room
  const subjects = [...plan.state, ...plan.batch].map((draft): AuthSubject => ({
    version,
    stateKey: undefined,
    ...draft,
  }))
  const numbers = yield* numbersFor(parts.interner, subjects)
  const view = yield* StateView.of(parts, room, before, subjects, numbers)
  const builder = new Builder(parts, room, numbers, view)
  const follows = prevs.map(({ event }) => event)
  // It stands on what the batch follows, not on the batch: older batches have an end of their own.
  const baseDepth = depthOf(plan.state.length + plan.batch.length)
  const base = plan.base && builder.finish(builder.build(plan.base, follows, baseDepth), before)
  const built: Built[] = []
  const ids = new Map<string, string>()
  let cited: readonly RoomEvent[] = follows
  let since = performance.now()
  for (const [index, draft] of [...plan.state, ...plan.batch].entries()) {
    if (performance.now() - since > turnMs) {
      yield
      since = performance.now()
    }
    const each = builder.build(withIds(draft, ids), cited, depthOf(index))
    built.push(each)
    if (draft.name !== undefined) ids.set(draft.name, each.event.eventId)
    cited = [each.event]
    if (draft.stateKey !== undefined) view.put(each.event)
  }
  // The same people came for an earlier batch at this place: then these are the very same events.
  const stateIds = built.slice(0, plan.state.length).map(({ event }) => event.eventId)
  const found = yield* parts.events.byIds(room, stateIds)
  let state = before
  const finished = built.map((each) => {
    const there = found.get(each.event.eventId)
    const done = builder.finish(each, state, there && !isOutlier(there) ? there : undefined)
    if (each.event.stateKey === undefined) return done
    state = after(state, done.known)
    view.know(each.event.eventId, done.known)
    return done
  })
  return {
    state: finished.slice(0, plan.state.length),
    batch: finished.slice(plan.state.length),
    base,
  }
}

/** An event that is signed, and may be. */
type Built = { event: RoomEvent; text: string; auths: readonly RoomEvent[] }

class Builder {
  readonly #parts: Parts
  readonly #room: Room
  readonly #numbers: Interned
  readonly #view: StateView

  constructor(parts: Parts, room: Room, numbers: Interned, view: StateView) {
    this.#parts = parts
    this.#room = room
    this.#numbers = numbers
    this.#view = view
  }

  build(draft: Draft, prevs: readonly RoomEvent[], depth: number): Built {
    const { content, name: _, ...wish } = draft
    const { lookup } = this.#view
    const room = this.#room
    const subject: AuthSubject = { version: room.version, stateKey: undefined, ...draft }
    const auths = selectAuthEvents(subject, lookup)
    const built = buildLocal(this.#parts, room, { ...wish, content: '' }, content, {
      prevs,
      auths,
      depth,
    })
    const verdict = authorize(built.event, lookup, () => true)
    if (!verdict.allowed) throw forbidden(verdict.reason)
    return { ...built, auths }
  }

  finish({ event, text, auths }: Built, before: StateMap, there?: Known): BuiltEvent {
    const cited = auths.map(({ eventId }) => this.#view.cited(eventId))
    if (there) return { known: there, before, auths: cited }
    const made = outlierOf(this.#parts, this.#room, event, {
      text,
      numbers: this.#numbers,
      authNids: cited.flatMap((each) => each?.nid ?? []),
    })
    made.known.flags &= ~eventFlags.outlier
    return { ...made, before, auths: cited }
  }
}
