import { authorize } from '#core/auth/authorize.ts'
import { type AuthSubject, selectAuthEvents, type StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { emptyPart, type NewEvent, type RoomPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Interned } from '#store/room/intern.ts'
import { type Made, make, type Snapshot } from '#store/room/snapshots.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { buildOn } from '#engine/room/import/build.ts'
import { type Staging, tipOf } from '#engine/room/import/staging.ts'
import type { Lane } from '#engine/room/lane.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { type Committed, type Outcome, RoomReloaded } from '#engine/room/work.ts'

/** A membership that is to change within the chain of an import. */
export type MemberWish = {
  sender: string
  target: string
  content: JsonObject
  ts: number
  /** An invite, for where the room would not let them in without. */
  invite?: MemberWish
}

/** Why a membership was not changed, by user. */
export type Refusals = Map<string, string>

type Chained = { known: Known; text: string; before: Snapshot; prevNids: readonly number[] }

/**
 * Memberships in the chain of an import: decided in the lane, like all state of its room, and invisible
 * like the rest of the chain. The room's current state does not change.
 */
export class TakeMembers extends Asked<Refusals> {
  readonly bytes: number
  readonly #staging: Staging
  readonly #wishes: readonly MemberWish[]
  #room: Room | undefined
  #chained: Chained[] = []
  #refusals: Refusals = new Map()
  #last: Snapshot | undefined

  constructor(answer: Answer<Refusals>, staging: Staging, wishes: readonly MemberWish[]) {
    super(answer)
    this.#staging = staging
    this.#wishes = wishes
    this.bytes = 1_000 * (wishes.length + 1)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const room = yield* lane.load()
    if (!room) throw new Error(`${lane.roomId} is gone`)
    const chain = new Chain(parts, room, this.#staging)
    const refusals: Refusals = new Map()
    yield* chain.begin(this.#wishes)
    // What the room asks of one it asks of all.
    let isClosed = false
    for (const wish of this.#wishes) {
      const { invite, target } = wish
      let refusal = isClosed && invite ? 'An invite is needed' : yield* chain.add(wish)
      if (refusal !== undefined && invite) {
        isClosed = true
        refusal = (yield* chain.add(invite)) ?? (yield* chain.add(wish))
      }
      if (refusal !== undefined) refusals.set(target, refusal)
      yield
    }
    if (room.stale) throw new RoomReloaded()
    // From here on nothing is yielded.
    const part = emptyPart(room.shard, room.nid)
    this.#last = chain.write(part)
    this.#room = room
    this.#chained = chain.events
    this.#refusals = refusals
    return { part, positions: 0, ingests: 0 }
  }

  override committed(committed: Committed): void {
    const staging = this.#staging
    for (const { known } of this.#chained) {
      this.#room!.uncommitted.delete(known.event.eventId)
      staging.tip = tipOf(known)
      staging.nextIndex = known.chainIndex! + 1
      staging.rights.delete(known.event.stateKey!)
    }
    staging.snapshot = this.#last!
    staging.unsaved = undefined
    super.committed(committed)
  }

  answerFor(): Refusals {
    return this.#refusals
  }
}

/** State events that are about to be put at the end of a chain. */
class Chain {
  readonly events: Chained[] = []
  readonly #parts: Parts
  readonly #room: Room
  readonly #staging: Staging
  readonly #made: Made[] = []
  /** By user, and by ID. */
  readonly #fresh = new Map<string, Known>()
  readonly #byId = new Map<string, Known>()
  #prevNids: readonly number[] = []
  #prevEvents: RoomEvent[] = []
  #snapshot: Snapshot
  #state: StateMap

  constructor(parts: Parts, room: Room, staging: Staging) {
    this.#parts = parts
    this.#room = room
    this.#staging = staging
    this.#snapshot = staging.snapshot
    this.#state = staging.state
  }

  *begin(wishes: readonly MemberWish[]): Task<void> {
    // All at once what each would ask for by itself.
    yield* numbersFor(
      this.#parts.interner,
      wishes.flatMap((wish) =>
        [...(wish.invite ? [wish.invite] : []), wish].map((each) => this.#subjectOf(each)),
      ),
    )
    const { tip, row } = this.#staging
    const nids = tip ? [tip.nid] : row.anchors
    const found = [...(yield* this.#parts.events.byNids(this.#room, nids)).values()]
    this.#prevEvents = found.map(({ event }) => event)
    this.#prevNids = found.map(({ nid }) => nid)
    if (this.#state !== this.#snapshot.state) this.#save()
  }

  /** Puts a membership behind what is there; the answer says why it may not be. */
  *add(wish: MemberWish): Task<string | undefined> {
    const parts = this.#parts
    const subject = this.#subjectOf(wish)
    const numbers = yield* numbersFor(parts.interner, [subject])
    const lookup = yield* this.#lookup(subject, numbers)
    const auths = selectAuthEvents(subject, lookup)
    const index = this.#staging.nextIndex + this.events.length
    const built = buildOn(parts, this.#room, subject, {
      prevs: this.#prevEvents,
      auths,
      depth: this.#staging.depthAt(index),
      ts: wish.ts,
    })
    if (built.outcome !== 'built') return built.reason
    const verdict = authorize(built.event, lookup, () => true)
    if (!verdict.allowed) return verdict.reason
    this.#push(built.event, built.text, { index, numbers, auths })
    return undefined
  }

  #subjectOf({ sender, target, content }: MemberWish): AuthSubject {
    const { version } = this.#room
    return { version, type: 'm.room.member', stateKey: target, sender, content }
  }

  #push(
    event: RoomEvent,
    text: string,
    { index, numbers, auths }: { index: number; numbers: Interned; auths: readonly RoomEvent[] },
  ): void {
    const stateKeyNid = numbers.stateKey(event.type, event.stateKey!)
    const known: Known = {
      nid: shardOfRoom(this.#parts, this.#room).nextNid(),
      event,
      typeNid: numbers.type(event.type),
      stateKeyNid,
      senderNid: numbers.user(event.sender),
      authNids: auths.map(({ type, stateKey }) =>
        this.#state.get(numbers.stateKey(type, stateKey!))!,
      ),
      bytes: 500 + 3 * text.length,
      flags: 0,
      snapshotNid: this.#snapshot.nid,
      chain: this.#staging.row.chain,
      chainIndex: index,
      authOrder: null,
    }
    this.events.push({ known, text, before: this.#snapshot, prevNids: this.#prevNids })
    this.#fresh.set(event.stateKey!, known)
    this.#byId.set(event.eventId, known)
    this.#prevNids = [known.nid]
    this.#prevEvents = [event]
    this.#state = this.#state.with([[stateKeyNid, known.nid]])
    this.#save()
  }

  #save(): void {
    const nid = shardOfRoom(this.#parts, this.#room).nextNid()
    const changes = new Map(
      this.#snapshot.state.diff(this.#state).map(({ key, new: now }) => [key, now]),
    )
    const made = make(nid, this.#snapshot, changes, this.#state)
    this.#made.push(made)
    this.#snapshot = made.snapshot
  }

  *#lookup(subject: AuthSubject, numbers: Interned): Task<StateLookup> {
    const lookup = yield* lookupIn(
      this.#parts,
      this.#room,
      this.#staging.state,
      keysAsked(subject),
      numbers,
    )
    return (type, stateKey) =>
      (type === 'm.room.member' ? this.#fresh.get(stateKey)?.event : undefined) ??
      lookup(type, stateKey)
  }

  /** Writes it into a part, and remembers it; the state with which the chain goes on. */
  write(part: RoomPart): Snapshot {
    const { events: cache } = this.#parts
    const room = this.#room
    for (const { row } of this.#made) part.snapshots.push(row)
    for (const { known, text, before, prevNids } of this.events) {
      part.events.push(rowOf(known, text, before, prevNids))
      const cited = known.event.authEvents.map((id) => this.#byId.get(id) ?? cache.find(room, id))
      room.auth.add(known, cited, part)
      room.uncommitted.set(known.event.eventId, known)
      cache.add(known)
    }
    return this.#snapshot
  }
}

const rowOf = (
  known: Known,
  text: string,
  before: Snapshot,
  prevNids: readonly number[],
): NewEvent => ({
  eventNid: known.nid,
  eventId: packEventId(known.event.eventId),
  typeNid: known.typeNid,
  stateKeyNid: known.stateKeyNid,
  senderNid: known.senderNid,
  depth: known.event.depth,
  originServerTs: known.event.originServerTs,
  authNids: known.authNids,
  json: text,
  internal: null,
  rejection: null,
  claimed: false,
  chain: known.chain,
  chainIndex: known.chainIndex,
  position: null,
  ingest: null,
  flags: 0,
  snapshotNid: before.nid,
  destinationSet: null,
  pushFlags: 0,
  prevNids,
})
