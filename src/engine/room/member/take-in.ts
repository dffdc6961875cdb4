import type { Membership } from '#core/content/m.room.member.ts'
import { domainOf } from '#core/ids.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { emptyPart, type RoomPart, type StagedState } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Interned } from '#store/room/intern.ts'
import { openChain } from '#store/room/plan-spans.ts'
import { makingWhole } from '#store/room/snapshots.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { after } from '#engine/room/decide/decide.ts'
import type { JoinedRoom, RejectedEvent } from '#engine/room/fetch/fetching.ts'
import { newRoomOutside } from '#engine/room/local/create.ts'
import { joinSetOf } from '#engine/room/member/join-set.ts'
import type { Lane } from '#engine/room/lane.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import { lacksAuth, noteAuth, outlierOf } from '#engine/room/member/outside.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import { claim } from '#engine/room/decide/receive.ts'
import { type JoinedServer, type Known, Room } from '#engine/room/room.ts'
import { countMembers, type Intake, stageEntry, stateOf } from '#engine/room/member/staged.ts'
import { steps, type Task } from '#engine/room/task.ts'
import { type Committed, type Outcome, RoomReloaded } from '#engine/room/work.ts'
import type { Landed } from '#engine/worker/protocol.ts'

/** Events, or entries of the state, that one piece of work stages. */
const perStage = 200

/**
 * Takes a room in that other servers have let us join: its state and auth chains in small batches,
 * beside the room, under a generation that nobody reads yet; then the join itself, and the state with
 * it, in one commit.
 */
export async function takeIn(lane: Lane, joined: JoinedRoom, userId: string): Promise<Landed> {
  const intake: Intake = {
    joined,
    // Unlike any before, also of a join that was broken off.
    generation: shardOfRoom(lane.parts, lane).nextNid(),
    stateIds: new Set(joined.state.map(({ eventId }) => eventId)),
    staged: new Map(),
    entries: new Map(),
  }
  const { authChain, rejected } = joined
  await lane.perform<null>((answer) => new Stage(answer, intake, [], []))
  for (let from = 0; from < authChain.length; from += perStage) {
    const some = authChain.slice(from, from + perStage)
    await lane.perform<null>((answer) => new Stage(answer, intake, some, []))
  }
  for (let from = 0; from < rejected.length; from += perStage) {
    const some = rejected.slice(from, from + perStage)
    await lane.perform<null>((answer) => new Stage(answer, intake, [], some))
  }
  return lane.perform((answer) => new Enter(answer, intake, userId))
}

/** Makes sure that there is a room, and puts some events beside its graph. */
class Stage extends Asked<null> {
  readonly bytes: number
  readonly #intake: Intake
  readonly #events: readonly RoomEvent[]
  readonly #rejected: readonly RejectedEvent[]
  #room: Room | undefined
  #known: Known[] = []

  constructor(
    answer: Answer<null>,
    intake: Intake,
    events: readonly RoomEvent[],
    rejected: readonly RejectedEvent[],
  ) {
    super(answer)
    this.#intake = intake
    this.#events = events
    this.#rejected = rejected
    this.bytes = 1_000 * (events.length + rejected.length)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const loaded = yield* lane.load()
    const { version } = this.#intake.joined
    const room = loaded ?? newRoomOutside(parts, lane, version)
    const all = [...this.#events, ...this.#rejected.map(({ event }) => event)]
    const found = yield* parts.events.byIds(
      room,
      all.map(({ eventId }) => eventId),
    )
    const numbers = yield* numbersFor(parts.interner, all)
    const claimed = new Set<string>()
    const texts = yield* textsOf(all.filter(({ eventId }) => !found.has(eventId)))
    for (const event of all)
      if (!found.has(event.eventId) && (yield* claim(lane, event))) claimed.add(event.eventId)
    if (room.stale || (!loaded && lane.room)) throw new RoomReloaded()
    const part = emptyPart(room.shard, room.nid)
    if (!loaded) {
      lane.room = room
      part.created = {
        roomId: room.roomId,
        version: version.id,
        kind: room.kind,
        partial: false,
      }
    }
    this.#room = room
    this.#known = []
    const staged: StagedState = { generation: this.#intake.generation, entries: [] }
    const add = (event: RoomEvent, rejection?: string) => {
      const there = found.get(event.eventId)
      if (!there && !claimed.has(event.eventId)) return
      const known = !there
        ? this.#put(parts, room, event, {
            numbers,
            part,
            text: texts.get(event.eventId)!,
            ...(rejection && { rejection }),
          })
        : lacksAuth(there)
          ? this.#complete(parts, room, there, part)
          : there
      this.#intake.staged.set(event.eventId, known)
      if (this.#intake.stateIds.has(event.eventId)) stageEntry(this.#intake, known, numbers, staged)
    }
    for (const event of this.#events) add(event)
    for (const { event, reason } of this.#rejected) add(event, reason)
    if (staged.entries.length > 0) part.staged = staged
    return { part, positions: 0, ingests: part.events.length + part.revised.length }
  }

  /** The invite that we came by, for one: what it cites has come only now. */
  #complete(parts: Parts, room: Room, there: Known, part: RoomPart): Known {
    const cited = there.event.authEvents.map((id) => this.#intake.staged.get(id))
    const ingest = part.events.length + part.revised.length + 1
    const known = noteAuth(parts, room, there, cited, { part, ingest })
    this.#known.push(known)
    return known
  }

  #put(
    parts: Parts,
    room: Room,
    event: RoomEvent,
    {
      numbers,
      part,
      text,
      rejection,
    }: {
      numbers: Interned
      part: ReturnType<typeof emptyPart>
      text: string
      rejection?: string
    },
  ): Known {
    const cited = event.authEvents.map((id) => this.#intake.staged.get(id))
    const { known, row } = outlierOf(parts, room, event, {
      numbers,
      text,
      authNids: cited.flatMap((each) => each?.nid ?? []),
      ...(rejection !== undefined && { rejection }),
    })
    part.events.push({
      ...row,
      ingest: part.events.length + part.revised.length + 1,
      claimed: event.version.eventFormat === 'named',
    })
    if (rejection === undefined) room.auth.add(known, cited, part)
    room.uncommitted.set(event.eventId, known)
    this.#known.push(known)
    return known
  }

  override committed(committed: Committed): void {
    for (const known of this.#known) this.#room!.committed(known)
    super.committed(committed)
  }

  answerFor(): null {
    return null
  }
}

/** Texts that are written out between two yields. */
const perText = 50

/** What is stored of some events. */
function* textsOf(events: readonly RoomEvent[]): Task<Map<string, string>> {
  const texts = new Map<string, string>()
  for (const [index, { eventId, version, pdu }] of events.entries()) {
    if (index % perText === perText - 1) yield
    texts.set(eventId, canonicalEvent(version, pdu)!)
  }
  return texts
}

/** The join itself, and with it the state: from here on the room is one of ours. */
class Enter extends Asked<Landed> {
  readonly bytes = 10_000
  readonly #intake: Intake
  readonly #userId: string
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<Landed>, intake: Intake, userId: string) {
    super(answer)
    this.#intake = intake
    this.#userId = userId
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const old = yield* lane.load()
    if (!old) throw new Error(`${lane.roomId} was staged and is not there`)
    const { join, json, create } = this.#intake.joined
    const numbers = yield* numbersFor(parts.interner, [join])
    const prevs = yield* parts.events.byIds(old, join.prevEvents)
    const joinSet = yield* joinSetOf(parts, this.#intake.joined)
    yield* claim(lane, join)
    const counts = yield* countMembers(this.#intake, this.#userId)
    const state = yield* stateOf(this.#intake)
    const whole = yield* steps(makingWhole(shardOfRoom(parts, old).nextNid(), old.nid, state))
    yield
    if (old.stale) throw new RoomReloaded()
    const { known, row } = outlierOf(parts, old, join, {
      numbers,
      text: json,
      authNids: join.authEvents.flatMap((id) => this.#intake.staged.get(id)?.nid ?? []),
    })
    known.flags = 0
    const missing = join.prevEvents.filter((id) => {
      const prev = prevs.get(id)
      return !prev || prev.chain === null
    })
    const room = this.#enter(parts, old, { known, state, create, missing, servers: counts.servers })
    const part = emptyPart(room.shard, room.nid)
    known.snapshotNid = parts.states.keep(room, whole, part)
    known.chain = room.chain
    known.chainIndex = 0
    const { chain, chainIndex, flags, snapshotNid } = known
    part.events.push({
      ...row,
      chain,
      chainIndex,
      flags,
      snapshotNid,
      position: 2,
      ingest: 1,
      prevNids: [...prevs.values()].map(({ nid }) => nid),
      claimed: join.version.eventFormat === 'named',
    })
    room.auth.add(
      known,
      join.authEvents.map((id) => this.#intake.staged.get(id)),
      part,
    )
    part.room = { kind: 'joined', version: room.version.id, joinSet }
    part.flip = {
      position: 1,
      from: old.generation,
      to: room.generation,
      joinedMembers: counts.joined,
      invitedMembers: counts.invited,
    }
    this.#change(room, numbers, { state, known, was: counts.was }, part)
    part.extremities.removed.push(...old.extremities.keys())
    part.extremities.added.push(known.nid)
    const last = old.chain === 0 ? null : { orderKey: old.orderKey }
    part.spans.push(openChain(last, room.chain, missing))
    room.orderKey = part.spans[0]!.orderKey
    for (const id of missing)
      part.missing.added.push({ eventId: packEventId(id), childNid: known.nid })
    part.joinsDone.push({ roomId: room.roomId, userId: this.#userId })

    old.stale = true
    lane.room = room
    room.uncommitted.set(join.eventId, known)
    parts.events.add(known)
    this.#room = room
    this.#known = known
    return { part, positions: 2, ingests: 1 }
  }

  /** The room as it is from now on. */
  #enter(
    parts: Parts,
    old: Room,
    more: {
      known: Known
      state: StateMap
      create: RoomEvent
      missing: string[]
      servers: Map<number, JoinedServer>
    },
  ): Room {
    const { known, state, create, missing, servers } = more
    const { generation, joined: answer } = this.#intake
    const room = new Room({
      roomId: old.roomId,
      nid: old.nid,
      shard: old.shard,
      version: answer.version,
      kind: 'joined',
      generation,
      create,
      extremities: new Map(),
      state: after(state, known),
      chain: shardOfRoom(parts, old).nextNid(),
      nextIndex: 1,
      orderKey: old.orderKey,
      servers,
      missing: new Map(old.missing),
      auth: old.auth,
    })
    for (const id of missing) room.missing.set(id, [...(room.missing.get(id) ?? []), known.nid])
    for (const [id, nids] of old.redactions) room.redactions.set(id, nids)
    room.extremities.set(known.nid, { known, after: room.state })
    return room
  }

  /** The join is the one change to the state that was staged. */
  #change(
    room: Room,
    numbers: Interned,
    { state, known, was }: { state: StateMap; known: Known; was: Membership | null },
    part: ReturnType<typeof emptyPart>,
  ): void {
    const user = this.#userId
    const name = domainOf(user)!
    const serverNid = numbers.server(name)
    const old = state.get(known.stateKeyNid!) ?? null
    if (was !== 'join') {
      const joined = (room.servers.get(serverNid)?.joined ?? 0) + 1
      room.servers.set(serverNid, { name, joined })
    }
    part.state.push({
      position: 2,
      typeNid: known.typeNid,
      stateKeyNid: known.stateKeyNid!,
      oldEventNid: old,
      newEventNid: known.nid,
      member: {
        userNid: numbers.user(user),
        serverNid,
        senderNid: known.senderNid,
        old: was,
        new: 'join',
      },
    })
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition }: Committed): Landed {
    return { eventId: this.#known!.event.eventId, shard, position: firstPosition + 1 }
  }
}
