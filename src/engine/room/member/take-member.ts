import { authorize } from '#core/auth/authorize.ts'
import { parseJson } from '#core/canonical-json.ts'
import { authorisingUserOf, membershipOf } from '#core/content/m.room.member.ts'
import { badJson, forbidden, invalidParam, MatrixError } from '#core/error.ts'
import { signEvent } from '#core/event/build.ts'
import { inspectPdu } from '#core/event/check.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { NeededKeys } from '#core/event/signatures.ts'
import { domainOf } from '#core/ids.ts'
import { eventFlags } from '#store/room/batch.ts'
import type { Judged } from '#engine/room/decide/apply.ts'
import { aside } from '#engine/room/aside.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { type Incoming, judge } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { requireAllowed, requireServed } from '#engine/room/member/make-member.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { Unsigned, withPolicySignatures } from '#engine/room/policy/policy.ts'
import { missingOf } from '#engine/room/inbox/prepare.ts'
import { receiveEvent } from '#engine/room/decide/receive.ts'
import { requireAuthoriser } from '#engine/room/member/restricted.ts'
import { isOutlier, type Known, type Room } from '#engine/room/room.ts'
import { txnOf } from '#engine/room/local/send.ts'
import type { Task } from '#engine/room/task.ts'
import { type Committed, nothing, type Outcome, type Work } from '#engine/room/work.ts'
import type { Landed, LocalTxn } from '#engine/worker/protocol.ts'

/** A join, leave or knock that another server has signed and hands in. */
export type SignedMember = {
  origin: string
  membership: 'join' | 'leave' | 'knock'
  pdu: string
}

export type TakenMember = Landed & { event: string }

/**
 * Takes a join, leave or knock that another server hands in: into the room, and on to the others. Keys that
 * are lacking are fetched before the event gets into the lane.
 *
 * Spec: server-server-api/#joining-rooms, server-server-api/#leaving-rooms-rejecting-invites
 */
export const takeMember = (lane: Lane, signed: SignedMember): Promise<TakenMember> =>
  lane.keep(async () => {
    const { parts } = lane
    for (let tries = 0; ; tries++) {
      const checked = await aside(lane, (room) => check(parts, requireServed(parts, room), signed))
      if ('incoming' in checked)
        return withPolicySignatures(lane, (policy) => {
          const incoming = { ...checked.incoming, ...policy }
          return lane.admit<TakenMember>(
            (answer) => new TakeMember(answer, incoming, { local: false }),
          )
        })
      if (tries > 0) throw forbidden('The keys that signed the event cannot be had')
      await parts.keys.fetch(checked.keys, parts.limits.keysMs)
    }
  })

/** Checks 1 to 3, with our signature where one of our users vouches for the join. */
function* check(
  parts: Parts,
  room: Room,
  signed: SignedMember,
): Task<{ incoming: Incoming } | { keys: readonly NeededKeys[] }> {
  const { origin } = signed
  yield* requireAllowed(parts, room, origin)
  const json = yield* vouched(parts, room, readMember(room, signed))
  const judged = judge({ json, origin }, room.version, room.roomId, parts.keys, parts.now())
  if (judged.outcome === 'drop') throw badJson(judged.reason)
  if (judged.outcome === 'missing') return { keys: judged.keys }
  if (judged.redacted) throw invalidParam('The content hash of the event is wrong')
  const { incoming } = judged
  if (incoming.rejection !== undefined) throw forbidden(incoming.rejection)
  return { incoming }
}

/** The caller on the main thread has looked at the same: here it counts, since here we sign. */
function readMember(room: Room, { origin, membership, pdu }: SignedMember): RoomEvent {
  const inspected = inspectPdu(room.version, parseJson(pdu), { roomId: room.roomId })
  if (typeof inspected === 'string') throw badJson(inspected)
  const { event } = inspected
  if (event.type !== 'm.room.member' || event.stateKey !== event.sender)
    throw invalidParam('The event is no m.room.member of its sender')
  if (membershipOf(event.content) !== membership)
    throw invalidParam(`The membership of the event is not ${membership}`)
  if (domainOf(event.sender) !== origin)
    throw forbidden(`The sender of the event is not a user of ${origin}`)
  return event
}

/** The event with our signature if it names a user of ours who authorises a restricted join, and may do so. */
function* vouched(parts: Parts, room: Room, event: RoomEvent): Task<string> {
  const { version } = room
  const authoriser = version.restrictedJoins ? authorisingUserOf(event.content) : undefined
  if (
    membershipOf(event.content) !== 'join' ||
    authoriser === undefined ||
    domainOf(authoriser) !== parts.signing.serverName
  )
    return canonicalEvent(version, event.pdu)!
  const numbers = yield* numbersFor(parts.interner, [event])
  const state = yield* lookupIn(parts, room, room.state, keysAsked(event), numbers)
  yield* requireAuthoriser(parts, room, event.sender, authoriser, state)
  return canonicalEvent(version, signEvent(version, event.pdu, parts.signing))!
}

/**
 * Takes an event that was checked already: one of ours that another server has signed too, or the
 * other way round.
 */
export const putIn = (
  lane: Lane,
  checked: { event: RoomEvent; text: string; origin: string },
): Promise<Landed> =>
  withPolicySignatures(lane, (signed) => putInSigned(lane, { ...checked, ...signed }))

async function putInSigned(
  lane: Lane,
  checked: { event: RoomEvent; text: string; origin: string },
  txn?: LocalTxn,
): Promise<Landed> {
  const { eventId } = checked.event
  const incoming = { ...checked, eventId, rejection: undefined, inboxIds: [] }
  const local = checked.origin === lane.parts.signing.serverName
  const make = (answer: Answer<TakenMember>) =>
    new TakeMember(answer, incoming, { local, ...(txn && { txn }) })
  const { shard, position } = await (local ? lane.perform(make) : lane.admit(make))
  return { eventId, shard, position }
}

/**
 * Performs what makes an event of a local user. If a policy server must sign that event it is made
 * first, signed outside of the lane, and then put in as it is, on top of what it was made for.
 */
export function performLocal(
  lane: Lane,
  make: (answer: Answer<Landed>) => Work<Lane>,
  txn?: LocalTxn,
): Promise<Landed> {
  const origin = lane.parts.signing.serverName
  return lane.parts.yielding.watch(() =>
    withPolicySignatures(lane, (signed) =>
      signed ? putInSigned(lane, { ...signed, origin }, txn) : lane.perform(make),
    ),
  )
}

/** An event that goes into the room as one of the inbox does, but somebody waits for it. */
export abstract class Taken<T> extends Asked<T> {
  override readonly local: boolean
  #room: Room | undefined
  #known: Known | undefined
  #again = false

  constructor(answer: Answer<T>, local: boolean) {
    super(answer)
    this.local = local
  }

  /** Decides an event of a room that we are in; what it lacks if it lacks something. */
  protected *take(
    lane: Lane,
    room: Room,
    incoming: Incoming,
    more: Pick<Judged, 'relayed' | 'txn' | 'internal'>,
  ): Task<{ outcome: Outcome | null } | { missing: ReadonlySet<string> }> {
    const { parts } = lane
    const { event } = incoming
    const found = yield* parts.events.byIds(room, [
      event.eventId,
      ...event.prevEvents,
      ...event.authEvents,
    ])
    const there = found.get(event.eventId)
    if (there && !isOutlier(there)) return { outcome: this.again(room, there) }
    const missing = missingOf(room, incoming, (id) => found.get(id))
    if (missing.size > 0) return { missing }
    yield* requireAllowedNow(parts, room, event)
    const received = yield* receiveEvent(lane, room, incoming, more)
    if ('missing' in received) return received
    if ('unsigned' in received) throw new Unsigned(event, received.unsigned)
    if ('known' in received) {
      if (!received.known) throw forbidden('The ID of the event is that of another')
      return { outcome: this.again(room, received.known) }
    }
    this.applied(room, received.applied.known)
    return { outcome: received.applied.outcome }
  }

  protected applied(room: Room, known: Known): void {
    this.#again = false
    this.#room = room
    this.#known = known
  }

  /** It came before: the same answer, once it is committed. */
  protected again(room: Room, known: Known): Outcome | null {
    this.applied(room, known)
    this.#again = true
    if (room.uncommitted.has(known.event.eventId)) return nothing(room)
    this.committed({ shard: room.shard, firstPosition: 0 })
    return null
  }

  override committed(committed: Committed): void {
    const { flags } = this.known
    if (!this.#again) this.#room!.committed(this.known)
    if (flags & (eventFlags.rejected | eventFlags.softFailed))
      this.failed(forbidden('The rules of the room do not allow it'))
    else super.committed(committed)
  }

  protected get known(): Known {
    return this.#known!
  }

  protected landed({ shard, firstPosition }: Committed): Landed {
    const position = this.#again ? 0 : firstPosition
    return { eventId: this.known.event.eventId, shard, position }
  }
}

/**
 * Refuses an event that the room does not allow as it is now, before anything of it is kept. What its
 * own past says of it is judged after that.
 */
function* requireAllowedNow(parts: Parts, room: Room, event: RoomEvent): Task<void> {
  const numbers = yield* numbersFor(parts.interner, [event])
  const state = yield* lookupIn(parts, room, room.state, keysAsked(event), numbers)
  const verdict = authorize(event, state, () => true)
  if (!verdict.allowed) throw forbidden(verdict.reason)
}

class TakeMember extends Taken<TakenMember> {
  readonly bytes: number
  readonly #incoming: Incoming
  readonly #txn: LocalTxn | undefined

  constructor(
    answer: Answer<TakenMember>,
    incoming: Incoming,
    { local, txn }: { local: boolean; txn?: LocalTxn },
  ) {
    super(answer, local)
    this.#incoming = incoming
    this.#txn = txn
    this.bytes = incoming.text.length
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = requireServed(lane.parts, yield* lane.load())
    const taken = yield* this.take(lane, room, this.#incoming, {
      relayed: true,
      ...txnOf(this.#txn, lane.parts.now()),
    })
    // A template of ours cites what we have.
    if ('missing' in taken)
      throw new MatrixError(400, 'M_BAD_STATE', 'The event cites events that are not known here')
    return taken.outcome
  }

  answerFor(committed: Committed): TakenMember {
    const { event } = this.known
    return { ...this.landed(committed), event: canonicalEvent(event.version, event.pdu)! }
  }
}
