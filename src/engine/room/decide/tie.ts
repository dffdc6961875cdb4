import { authorize } from '#core/auth/authorize.ts'
import { requiredLevel } from '#core/auth/levels.ts'
import { dummyType } from '#core/content/dummy-event.ts'
import { type AuthSubject, selectAuthEvents, type StateKey } from '#core/event/auth-events.ts'
import { allow } from '#core/verdict.ts'
import type { Interned } from '#store/room/intern.ts'
import { type Applied, applyAt } from '#engine/room/decide/apply.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import type { Lane } from '#engine/room/lane.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { policyOf } from '#engine/room/policy/policy.ts'
import { resolveStates } from '#engine/room/decide/resolve.ts'
import { localWith } from '#engine/room/member/restricted.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { buildLocal, knownAuths, maxPrevs } from '#engine/room/local/send.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { type Committed, type Outcome, RoomReloaded } from '#engine/room/work.ts'

/** So often a tie may be overtaken before it is left for later. */
const patience = 3

/**
 * Watches over the ends of one room. Each that nobody cites is resolved with all others at every event,
 * and other servers can make any number of them; so if there are many, one of our users ties them
 * together by events that mean nothing. They go to no other server by themselves: others get them with
 * what cites them, so that not all servers of a room answer each other's.
 */
export class Ties {
  readonly #lane: Lane
  #timer: ReturnType<typeof setTimeout> | undefined
  #isSoon = false
  #isTying = false
  #notBefore = 0

  constructor(lane: Lane) {
    this.#lane = lane
  }

  /** The room has one more event, maybe one more end. */
  look(room: Room): void {
    const { limits, now } = this.#lane.parts
    if (room.extremities.size <= limits.ends || this.#isTying || now() < this.#notBefore) return
    const isSoon = room.extremities.size > limits.endsAtOnce
    if (this.#timer && (this.#isSoon || !isSoon)) return
    clearTimeout(this.#timer)
    this.#isSoon = isSoon
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined
        this.#tie().catch((error: unknown) =>
          this.#lane.parts.onError(error, `the ends of ${this.#lane.roomId} could not be tied`),
        )
      },
      isSoon ? limits.tieSoonMs : limits.tieMs,
    )
    this.#timer.unref()
  }

  /** Leaves them as they are. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** As many events as it takes, within bounds. */
  #tie(): Promise<void> {
    const { limits, now } = this.#lane.parts
    this.#isTying = true
    const tying = this.#lane.keep(async () => {
      let before = Infinity
      for (let n = 0; n < limits.tiesAtOnce; n++) {
        const left = await this.#lane.admit<number>((answer) => new Tie(answer))
        if (left <= limits.ends) return
        // Nobody may, or it did not help: the next one will not, either.
        if (left >= before) break
        before = left
      }
      if (before === Infinity) this.#notBefore = now() + limits.tiePauseMs
    })
    return tying.finally(() => {
      this.#isTying = false
    })
  }
}

/** One event that cites as many ends as it may; how many are left then, endless if nobody may say it. */
class Tie extends Asked<number> {
  // It may take a resolution: that is for the strand in which they are.
  override readonly local = false
  readonly bytes = 3_000
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<number>) {
    super(answer)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const room = yield* lane.load()
    if (room?.kind !== 'joined' || room.extremities.size <= parts.limits.ends) return this.#end(0)
    const numbers = yield* wait(parts.interner.intern({ stateKeys: [policyKey, levelsKey] }))
    // A policy server would have to be asked, which is more than it is worth.
    const isPoliced = (yield* policyOf(parts, room, numbers)) !== undefined
    const sender = isPoliced ? undefined : yield* speakerIn(parts, room, numbers)
    if (sender === undefined) return this.#end(Infinity)
    const { version } = room
    const subject = { version, type: dummyType, stateKey: undefined, sender, content: {} }
    const own = yield* numbersFor(parts.interner, [subject])
    for (let tries = 0; tries < patience; tries++) {
      const tied = yield* tieOnce(parts, room, subject, own)
      if (tied === 'refused') return this.#end(Infinity)
      if (!tied) continue
      this.#room = room
      this.#known = tied.known
      return tied.outcome
    }
    return this.#end(room.extremities.size)
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor(): number {
    return this.#room!.extremities.size
  }

  #end(left: number): null {
    this.answer.resolve(left)
    return null
  }
}

const policyKey: StateKey = ['m.room.policy', '']
const levelsKey: StateKey = ['m.room.power_levels', '']

/** A user of ours who may say it. */
function* speakerIn(parts: Parts, room: Room, numbers: Interned): Task<string | undefined> {
  const state = yield* lookupIn(parts, room, room.state, [levelsKey], numbers)
  const levels = state('m.room.power_levels', '')
  return yield* localWith(parts, room, levels, requiredLevel(levels, dummyType, false))
}

/** Undefined if something else was decided meanwhile. */
function* tieOnce(
  parts: Parts,
  room: Room,
  subject: AuthSubject,
  numbers: Interned,
): Task<Applied | 'refused' | undefined> {
  const { revision } = room
  const ends = [...room.extremities.values()].slice(0, maxPrevs)
  const prevs = ends.map(({ known }) => known)
  const before = yield* resolveStates(
    parts,
    room,
    ends.map(({ after }) => after),
  )
  const state = yield* lookupIn(parts, room, before, keysAsked(subject), numbers)
  if (room.stale) throw new RoomReloaded()
  const auths = selectAuthEvents(subject, state)
  const wish = { type: subject.type, sender: subject.sender, content: '{}' }
  const event = buildLocal(parts, room, wish, subject.content, {
    prevs: prevs.map((prev) => prev.event),
    auths,
  })
  if (!authorize(event.event, state, () => true).allowed) return 'refused'
  const judged = {
    ...event,
    prevs,
    auths: knownAuths(parts, room, before, { auths, numbers }),
    before,
    numbers,
    verdict: allow,
    relayed: false,
    isOwn: true,
    inboxIds: [],
  }
  return yield* applyAt(parts, room, judged, revision)
}
