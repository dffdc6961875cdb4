import { parseJson } from '#core/canonical-json.ts'
import { authorisingUserOf } from '#core/content/m.room.member.ts'
import { badJson, forbidden, invalidParam, MatrixError, notFound } from '#core/error.ts'
import { signEvent } from '#core/event/build.ts'
import { inspectPdu } from '#core/event/check.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import { isObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { eventFlags } from '#store/room/batch.ts'
import { lookupIn } from '#engine/room/decide.ts'
import { type Incoming, judge } from '#engine/room/incoming.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/local-member.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import { applyOutside } from '#engine/room/outside.ts'
import { claim, receiveEvent } from '#engine/room/receive.ts'
import { authoriserFor } from '#engine/room/restricted.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { Committed, Outcome } from '#engine/room/work.ts'
import { newRoomOutside } from '#engine/room/create.ts'
import type { Landed } from '#engine/worker/protocol.ts'

/**
 * A join or leave that another server has signed and hands in: into the room, and on to the others.
 *
 * Spec: server-server-api/#joining-rooms
 */
export async function handIn(
  lane: Lane,
  origin: string,
  pdu: string,
): Promise<Landed & { event: string }> {
  // Keys may have to be fetched: no local send waits for that.
  const incoming = await lane.parts.turns.seat(true).run(read(lane, origin, pdu))
  return lane.perform((answer) => new PutIn(answer, incoming))
}

/** An event that was checked already: one of ours that another server has signed too. */
export function putIn(
  lane: Lane,
  checked: { event: RoomEvent; text: string; origin: string },
): Promise<Landed> {
  const { eventId } = checked.event
  const incoming = { ...checked, eventId, rejection: undefined, inboxIds: [] }
  return lane.perform((answer) => new PutIn(answer, incoming))
}

/** Checks 1 to 3, with our signature where one of our users vouches for the join. */
function* read(lane: Lane, origin: string, pdu: string): Task<Incoming> {
  const { parts } = lane
  const room = yield* lane.load()
  if (room?.kind !== 'joined' || !isOurs(parts, room)) throw notFound('The room is not known')
  const raw = { json: yield* vouched(lane, room, pdu), origin }
  for (let tries = 0; ; tries++) {
    const judged = judge(raw, room.version, room.roomId, parts.keys, parts.now())
    if (judged.outcome === 'drop') throw badJson(judged.reason)
    if (judged.outcome === 'accept') {
      if (judged.redacted) throw invalidParam('The content hash of the event is wrong')
      return judged.incoming
    }
    if (tries > 0) throw forbidden('The keys that signed the event cannot be had')
    yield* wait(parts.keys.fetch(judged.keys, parts.limits.keysMs))
  }
}

/** An event that somebody waits for, into the room and on to its servers. */
class PutIn extends Asked<Landed & { event: string }> {
  readonly bytes: number
  readonly #incoming: Incoming
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<Landed & { event: string }>, incoming: Incoming) {
    super(answer)
    this.#incoming = incoming
    this.bytes = incoming.text.length
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (room?.kind !== 'joined' || !isOurs(lane.parts, room))
      throw notFound('The room is not known')
    const received = yield* receiveEvent(lane, room, this.#incoming, true)
    if ('missing' in received)
      throw new MatrixError(400, 'M_BAD_STATE', 'The event cites events that are not known')
    if ('known' in received) {
      if (!received.known || received.known.flags & eventFlags.rejected)
        throw forbidden('The event was refused before')
      // Handed in again, since the answer was lost.
      const { eventId, text: event } = this.#incoming
      this.answer.resolve({ eventId, shard: room.shard, position: 0, event })
      return null
    }
    const { known, outcome } = received.applied
    this.#room = room
    this.#known = known
    return outcome
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    const { flags } = this.#known!
    if (flags & (eventFlags.rejected | eventFlags.softFailed))
      this.answer.reject(forbidden('The room does not allow it'))
    else super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed & { event: string } {
    const { eventId, text: event } = this.#incoming
    return { eventId, shard, position, event }
  }
}

/** The PDU with our signature if one of our users authorises a restricted join, and may do so. */
function* vouched(lane: Lane, room: Room, text: string): Task<string> {
  const { parts } = lane
  const json = parseJson(text)
  const content = isObject(json) ? json['content'] : undefined
  const authoriser = isObject(content) ? authorisingUserOf(content) : undefined
  if (authoriser === undefined || domainOf(authoriser) !== parts.signing.serverName) return text
  const inspected = inspectPdu(room.version, json, { roomId: room.roomId })
  if (typeof inspected === 'string') throw badJson(inspected)
  const { event } = inspected
  const numbers = yield* numbersFor(parts.interner, [event])
  const state = yield* lookupIn(parts, room, room.state, keysAsked(event), numbers)
  // Throws if the user meets no condition. Who vouches is for the auth rules to judge.
  yield* authoriserFor(parts, room, event.sender, state)
  return canonicalEvent(room.version, signEvent(room.version, event.pdu, parts.signing))!
}

/** An invite for a user of ours, which we have signed. */
export class TakeInvite extends Asked<Landed> {
  readonly bytes: number
  readonly #version: string
  readonly #pdu: string
  readonly #state: readonly string[]
  #room: Room | undefined
  #known: Known | undefined

  constructor(
    answer: Answer<Landed>,
    { version, pdu, state }: { version: string; pdu: string; state: readonly string[] },
  ) {
    super(answer)
    this.#version = version
    this.#pdu = pdu
    this.#state = state
    this.bytes = pdu.length + state.reduce((sum, each) => sum + each.length, 0)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const loaded = yield* lane.load()
    const version = loaded?.version ?? roomVersions.get(this.#version)
    if (!version)
      throw new MatrixError(400, 'M_UNSUPPORTED_ROOM_VERSION', 'The room version is not known')
    const inspected = inspectPdu(version, parseJson(this.#pdu), { roomId: lane.roomId })
    if (typeof inspected === 'string') throw badJson(inspected)
    const { event } = inspected
    const text = canonicalEvent(version, event.pdu)!
    if (loaded?.kind === 'joined' && isOurs(parts, loaded)) {
      const origin = domainOf(event.sender)!
      const incoming = {
        eventId: event.eventId,
        event,
        text,
        origin,
        rejection: undefined,
        inboxIds: [],
      }
      const received = yield* receiveEvent(lane, loaded, incoming, false)
      if ('applied' in received) {
        this.#room = loaded
        this.#known = received.applied.known
        return received.applied.outcome
      }
      // It comes again by the room's own traffic, after what it lacks.
      this.answer.resolve({ eventId: event.eventId, shard: lane.shard, position: 0 })
      return null
    }
    if (loaded) {
      const known = (yield* parts.events.byIds(loaded, [event.eventId])).get(event.eventId)
      if (known) {
        this.answer.resolve({ eventId: event.eventId, shard: lane.shard, position: 0 })
        return null
      }
    }
    if (!(yield* claim(lane, event))) throw forbidden('The event ID is that of another event')
    const room = loaded ?? newRoomOutside(parts, lane, version)
    const { known, outcome } = yield* applyOutside(parts, room, event, {
      text,
      internal: `{"invite_room_state":[${this.#state.join(',')}]}`,
      claimed: version.eventFormat === 'named',
    })
    if (!loaded) {
      lane.room = room
      const { roomId, kind } = room
      outcome.part.created = { roomId, version: version.id, kind, partial: false }
    }
    this.#room = room
    this.#known = known
    return outcome
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed {
    return { eventId: this.#known!.event.eventId, shard, position }
  }
}

/** The leave that ends an invite or a knock in a room that we are not in. */
export class LeaveOutside extends Asked<Landed> {
  readonly bytes: number
  readonly #event: Incoming['event']
  readonly #text: string
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<Landed>, event: Incoming['event'], text: string) {
    super(answer)
    this.#event = event
    this.#text = text
    this.bytes = text.length
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (!room) throw notFound('The room is not known')
    const made = yield* applyOutside(lane.parts, room, this.#event, {
      text: this.#text,
      claimed: false,
    })
    this.#room = room
    this.#known = made.known
    return made.outcome
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed {
    return { eventId: this.#known!.event.eventId, shard, position }
  }
}
