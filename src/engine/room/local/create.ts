import { forbidden, invalidParam, MatrixError } from '#core/error.ts'
import { parseJson } from '#core/canonical-json.ts'
import { authorizeCreate } from '#core/auth/create.ts'
import { inspectPdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import type { RoomKind, Span } from '#store/room/batch.ts'
import { StateMap } from '#store/room/state-map.ts'
import { applyEvent } from '#engine/room/decide/apply.ts'
import { AuthChains } from '#engine/room/decide/auth-chains.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { mergeOutcomes } from '#engine/room/commit/merge.ts'
import { firstKey } from '#store/room/order-key.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { shardOfRoom } from '#engine/room/parts.ts'
import { forget, type Known, Room } from '#engine/room/room.ts'
import { contentOf, sendLocal } from '#engine/room/local/send.ts'
import type { Task } from '#engine/room/task.ts'
import type { Committed, Outcome } from '#engine/room/work.ts'
import type { CreateRoom, Landed } from '#engine/worker/protocol.ts'

/** Not spec: events of one new room, invites apart. */
const maxEvents = 500

/** A new room: its create event and the events after it, in one commit. */
export class Create extends Asked<Landed> {
  readonly bytes: number
  readonly #request: CreateRoom
  #room: Room | undefined
  #known: Known[] = []
  #positions = 0

  constructor(answer: Answer<Landed>, request: CreateRoom) {
    super(answer)
    this.#request = request
    this.bytes = request.events.reduce((sum, { content }) => sum + content.length + 1_000, 2_000)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts, roomId, shard } = lane
    const { createEvent, version, events } = this.#request
    if (events.length > maxEvents) throw invalidParam('The room has too much initial state')
    if (yield* lane.load()) throw new MatrixError(400, 'M_ROOM_IN_USE', 'The room exists already')
    const create = readCreate(createEvent, version, roomId)
    const room = newRoom(parts, create, shard, 'joined')
    try {
      const outcome = yield* this.#build(parts, room, create)
      if (yield* lane.load()) throw new MatrixError(400, 'M_ROOM_IN_USE', 'The room exists already')
      lane.room = room
      this.#room = room
      return outcome
    } catch (error) {
      forget(parts, room)
      throw error
    }
  }

  *#build(parts: Parts, room: Room, create: RoomEvent): Task<Outcome> {
    const { createEvent, events } = this.#request
    const outcomes: Outcome[] = []
    const first = yield* applyCreate(parts, room, create, createEvent)
    this.#known = [first.known]
    outcomes.push(first.outcome)
    for (const event of events) {
      const content = contentOf(event.content)
      const { known, outcome } = yield* sendLocal(parts, room, event, content)
      this.#known.push(known)
      outcomes.push(outcome)
    }
    const outcome = combine(outcomes)
    this.#positions = outcome.positions
    return outcome
  }

  override committed(committed: Committed): void {
    for (const known of this.#known) this.#room!.committed(known)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition }: Committed): Landed {
    // Whoever has read up to here has read the whole room.
    const position = firstPosition + this.#positions - 1
    return { eventId: this.#known[0]!.event.eventId, shard, position }
  }
}

/** Outcomes that are committed together or not at all. */
function combine(outcomes: readonly Outcome[]): Outcome {
  const counts = { position: 0, ingest: 0 }
  const part = mergeOutcomes(outcomes, counts)
  return { part, positions: counts.position, ingests: counts.ingest }
}

function readCreate(text: string, versionId: string, roomId: string): RoomEvent {
  const version = roomVersions.get(versionId)
  if (!version)
    throw new MatrixError(400, 'M_UNSUPPORTED_ROOM_VERSION', 'The room version is not known')
  const inspected = inspectPdu(version, parseJson(text), { roomId })
  if (typeof inspected === 'string') throw invalidParam(inspected)
  return inspected.event
}

/** A room of which we know by an invite alone. */
export function newRoomOutside(parts: Parts, { roomId, shard }: Lane, version: RoomVersion): Room {
  return new Room({
    roomId,
    nid: shardOfRoom(parts, { shard }).nextNid(),
    shard,
    version,
    kind: 'outside',
    generation: 0,
    extremities: new Map(),
    state: StateMap.empty,
    chain: 0,
    nextIndex: 0,
    servers: new Map(),
    missing: new Map(),
    orderKey: firstKey,
    auth: new AuthChains(0),
  })
}

/** A room in memory that has no events yet. */
function newRoom(parts: Parts, create: RoomEvent, shard: number, kind: RoomKind): Room {
  const owner = shardOfRoom(parts, { shard })
  return new Room({
    roomId: create.roomId,
    nid: owner.nextNid(),
    shard,
    version: create.version,
    kind,
    generation: 0,
    create,
    extremities: new Map(),
    state: StateMap.empty,
    chain: owner.nextNid(),
    nextIndex: 0,
    servers: new Map(),
    missing: new Map(),
    orderKey: firstKey,
    auth: new AuthChains(0),
  })
}

/** The stretch to which live events are appended: open at the end, so that an append changes nothing. */
const liveSpan = ({ orderKey, chain }: Room): Span => ({
  orderKey,
  chain,
  from: null,
  to: null,
  gap: null,
  hidden: false,
})

function* applyCreate(parts: Parts, room: Room, event: RoomEvent, text: string) {
  const verdict = authorizeCreate(event)
  if (!verdict.allowed) throw forbidden(verdict.reason)
  const numbers = yield* numbersFor(parts.interner, [event])
  const applied = yield* applyEvent(parts, room, {
    event,
    text,
    prevs: [],
    auths: new Map(),
    before: StateMap.empty,
    numbers,
    verdict,
    relayed: true,
    inboxIds: [],
  })
  const { part } = applied.outcome
  part.spans.push(liveSpan(room))
  part.created = {
    roomId: room.roomId,
    version: room.version.id,
    kind: room.kind,
    partial: false,
  }
  return applied
}
