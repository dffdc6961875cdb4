import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { emptyPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import { claimEventIds } from '#store/room/intern.ts'
import { StateMap } from '#store/room/state-map.ts'
import { aside } from '#engine/room/aside.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { CheckedEvents } from '#engine/room/fetch/fetching.ts'
import { fetchStateBefore } from '#engine/room/fetch/state.ts'
import { Gate } from '#engine/room/gate.ts'
import { fetchingIn, standingsOf } from '#engine/room/inbox/known-events.ts'
import type { Lane } from '#engine/room/lane.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import { outlierOf } from '#engine/room/member/outside.ts'
import type { Parts } from '#engine/room/parts.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { type Committed, nothing, type Outcome, RoomReloaded } from '#engine/room/work.ts'

/** Events that one piece of work stores, so that it holds nobody. */
const perPiece = 50

type Checked = { event: RoomEvent; reason?: string }

/**
 * Stores fetched events beside the graph of the room: auth chains and states, which were judged by the
 * events that they cite. Resolves when all are committed.
 */
export async function keepOutliers(
  lane: Lane,
  { accepted, rejected }: Pick<CheckedEvents, 'accepted' | 'rejected'>,
): Promise<void> {
  // Nothing that is accepted cites what is rejected.
  const all: Checked[] = [...accepted, ...rejected]
  for (let from = 0; from < all.length; from += perPiece) {
    const some = all.slice(from, from + perPiece)
    await lane.admit<null>((answer) => new KeepOutliers(answer, some))
    for (const { event } of some) lane.inbound.arrived(event.eventId)
  }
}

class KeepOutliers extends Asked<null> {
  override readonly local = false
  readonly bytes: number
  readonly #events: readonly Checked[]
  #room: Room | undefined
  #known: Known[] = []

  constructor(answer: Answer<null>, events: readonly Checked[]) {
    super(answer)
    this.#events = events
    this.bytes = 1_000 * events.length
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts, roomId } = lane
    const room = yield* lane.load()
    if (!room) throw new Error(`${roomId} is gone`)
    this.#room = room
    this.#known = []
    const found = yield* parts.events.byIds(
      room,
      this.#events.flatMap(({ event }) => [event.eventId, ...event.authEvents]),
    )
    const fresh = this.#events.filter(({ event }) => !found.has(event.eventId))
    if (fresh.length === 0) return nothing(room)
    const events = fresh.map(({ event }) => event)
    const numbers = yield* numbersFor(parts.interner, events)
    const refused = yield* claimAll(lane, events)
    if (room.stale) throw new RoomReloaded()
    const part = emptyPart(room.shard, room.nid)
    for (const { event, reason } of fresh) {
      if (refused.has(event.eventId)) continue
      const cited = event.authEvents.map((id) => found.get(id))
      const { known, row } = outlierOf(parts, room, event, {
        numbers,
        text: canonicalEvent(event.version, event.pdu)!,
        authNids: cited.flatMap((each) => each?.nid ?? []),
        ...(reason !== undefined && { rejection: reason }),
      })
      part.events.push({
        ...row,
        ingest: part.events.length + 1,
        claimed: event.version.eventFormat === 'named',
      })
      if (known.stateKeyNid !== null) room.auth.add(known, cited, part)
      found.set(event.eventId, known)
      room.uncommitted.set(event.eventId, known)
      parts.events.add(known)
      this.#known.push(known)
    }
    return { part, positions: 0, ingests: part.events.length }
  }

  override committed(committed: Committed): void {
    for (const known of this.#known) this.#room!.committed(known)
    super.committed(committed)
  }

  answerFor(): null {
    return null
  }
}

/** v1–v2: other servers choose event IDs, so they are claimed first; those that are taken. */
export function* claimAll(
  { parts, shard, roomId }: Lane,
  events: readonly RoomEvent[],
): Task<Set<string>> {
  const named = events.filter(({ version }) => version.eventFormat === 'named')
  if (named.length === 0) return new Set()
  const claims = named.map(({ eventId }) => ({ eventId: packEventId(eventId), shard, roomId }))
  const refused = yield* wait(claimEventIds(parts.sql, claims))
  return new Set([...refused].map((at) => named[at]!.eventId))
}

/**
 * The state before an event whose prev_events cannot be had, as the first of some servers tells it
 * that makes sense: its events are checked and stored. One that lacks nothing is preferred. Undefined
 * if none does.
 */
export async function fetchState(
  lane: Lane,
  room: Pick<Room, 'roomId' | 'version'>,
  eventId: string,
  servers: readonly string[],
): Promise<StateMap | undefined> {
  const { counters, limits } = lane.parts
  const { roomId, version } = room
  let partial: StateMap | undefined
  for (const server of servers) {
    counters.stateFetches++
    const fetching = fetchingIn(lane, limits.missingMs)
    const wanted = { ...fetching, roomId, version, eventId, servers: [server] }
    const fetched = await gateOf(lane.parts).run(server, () => fetchStateBefore(wanted))
    if (!fetched) continue
    await keepOutliers(lane, fetched.events)
    const state = await stateOf(lane, fetched.stateIds)
    if (state && (await areRefused(lane, fetched.lost))) return state
    // Old keys may be lost for ever: some of it that nobody has is better than nothing.
    partial ??= state
  }
  return partial
}

/** Not spec: a state may weigh hundreds of megabytes. */
const statesAtOnce = { total: 8, perKey: 2 }
const gates = new WeakMap<Parts, Gate>()

function gateOf(parts: Parts): Gate {
  let gate = gates.get(parts)
  if (!gate) gates.set(parts, (gate = new Gate(statesAtOnce)))
  return gate
}

/** Whether these are no part of a state because the rules forbid them, not because they lack. */
const areRefused = (lane: Lane, eventIds: readonly string[]): Promise<boolean> =>
  aside(lane, function* (room) {
    if (!room || eventIds.length === 0) return true
    const found = yield* standingsOf(lane.parts, room, eventIds)
    return eventIds.every((id) => found.has(id))
  })

/** The state that stored events make up; undefined if they make up none. */
export function stateOf(lane: Lane, eventIds: readonly string[]): Promise<StateMap | undefined> {
  return aside(lane, function* (room) {
    if (!room?.create) return undefined
    const found = yield* standingsOf(lane.parts, room, [...eventIds, room.create.eventId])
    const entries = new Map<number, number>()
    for (const id of eventIds) {
      const standing = found.get(id)
      if (!standing || isRejected(standing)) continue
      // No state holds what is no state event, or a key twice.
      const { stateKeyNid: key, nid } = standing
      if (key === null || entries.has(key)) return undefined
      entries.set(key, nid)
    }
    const create = found.get(room.create.eventId)
    if (!create || entries.get(create.stateKeyNid!) !== create.nid) return undefined
    return StateMap.from(entries)
  })
}
