import type { JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Presence } from '#engine/live/presence.ts'
import type { Typing } from '#engine/live/typing.ts'
import type { EventIndex } from '#engine/read/event-index.ts'
import { type ReadEvent, loadEvents } from '#engine/read/events.ts'
import type { Place } from '#engine/read/places.ts'
import type { View } from '#engine/read/positions.ts'
import type { Erased } from '#engine/read/erased.ts'
import type { Reader } from '#engine/read/room.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import type { Snapshots } from '#engine/read/snapshots.ts'
import { readStripped } from '#engine/read/stripped.ts'
import { readSummaries } from '#engine/read/summary.ts'
import type { Sql } from '#store/db.ts'
import { readAccountData } from './account-data.ts'
import { readPassing } from './ephemeral.ts'
import { type Plan, type SyncRequest, planRooms } from './plan.ts'
import { readDeviceLists } from './device-lists.ts'
import { type ReceiptSection, readReceipts } from './receipts.ts'
import { readRelated } from './related.ts'
import type { SentMembers } from './sent-members.ts'
import { type Deltas, isReplaced, readDeltas, readStates } from './state.ts'
import { type Timeline, readTimelines } from './timelines.ts'
import { readKeySupply, readToDevice } from './to-device.ts'
import { UnreadCounts } from './unread.ts'
import { UserFacts } from './user-facts.ts'
import { decodeToken, encodeToken } from '#engine/read/sync-token.ts'
import { type Parts, writeAnswer } from './write.ts'

/** What the answers of /sync are made of, and remembered by. */
export type Syncing = Reader & {
  readonly snapshots: Snapshots
  readonly sentMembers: SentMembers
  readonly eventIndex?: EventIndex
  readonly erased?: Erased
  readonly typing?: Typing
  readonly presence?: Presence | undefined
  readonly unread?: UnreadCounts
  readonly facts?: UserFacts
}

/**
 * Answers one /sync: at once if there is anything to tell, else as soon as there is, else when
 * `timeoutMs` is over.
 *
 * Each round fixes its upper vector first and answers for that, never for now. Nothing is kept of an
 * answer, so a token is never answered with itself again and again.
 *
 * Spec: client-server-api/#syncing
 */
export async function sync(
  reader: Syncing,
  request: SyncRequest,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<JsonObject & { next_batch: string }> {
  const deadline = performance.now() + timeoutMs
  let { since } = request
  for (;;) {
    const view = await reader.positions.view(request.userId)
    const asked = { ...request, since }
    const answer = writeAnswer(reader, asked, await readRound(reader, asked, view))
    const left = deadline - performance.now()
    const mayWait = since !== undefined && !request.fullState && !reader.positions.closed
    if (answer.hasNews || !mayWait || left <= 0 || signal.aborted) return answer.json
    // Nothing between the two: what comes is after the later one.
    since = decodeToken(answer.json.next_batch)
    await reader.positions.waitFor(request.userId, since, signal, left, {
      typing: view.nudges.typing,
      ...(wantsPresence(reader, request) && { presence: view.nudges.presence }),
    })
  }
}

/** Whether a client waits for who comes and goes. */
const wantsPresence = ({ presence }: Syncing, { filter }: SyncRequest): boolean =>
  presence !== undefined &&
  filter.presence.types.accepts('m.presence') &&
  filter.presence.limit !== 0

/**
 * What there is to tell between two vectors. Sections ask the database only for what memory does not know
 * to be the same: where nothing came that concerns the user there is no statement.
 */
async function readRound(reader: Syncing, request: SyncRequest, view: View): Promise<Parts> {
  const { sql } = reader
  const { userId, deviceId, since } = request
  const { vector, news } = view
  const { positions, facts = new UserFacts() } = reader
  const known = { facts, news }
  const changed = since && !request.fullState ? view.changed(since) : view.places
  const [plan, accountData, toDevice, keySupply, deviceLists] = await Promise.all([
    planRooms(sql, positions, request, { vector, places: changed }),
    readAccountData(sql, userId, since, vector, known),
    readToDevice(sql, userId, deviceId, since, vector, undefined, known),
    readKeySupply(sql, userId, deviceId, vector, facts),
    readDeviceLists(sql, positions, userId, changed, since, vector, news),
  ])
  const { ignored } = accountData
  const [{ timelines, seen, arrivals }, receipts] = await Promise.all([
    readTimelines(
      reader,
      { userId, ignored, stateAfter: request.stateAfter !== undefined },
      request.filter.timeline,
      plan.rooms,
    ),
    readReceipts(
      sql,
      positions,
      request,
      { ...view, candidates: since ? view.read(since) : view.places },
      plan,
      ignored,
    ),
  ])
  const counted = countedRooms(plan, receipts, view)
  const unread = await (reader.unread ?? new UnreadCounts()).read(
    { sql, positions, userId, ignored, news, arrivals },
    counted,
    vector,
  )
  const deltas = await readDeltas(sql, plan.rooms, timelines, positions)
  const [summaries, asked, extra] = await Promise.all([
    readSummaries(sql, userId, summarizedIn(plan, deltas)),
    readStripped(sql, [...plan.invites, ...plan.knocks]),
    readExtra(sql, plan, timelines),
  ])
  const relations = await readRelated(reader, request, timelines, seen, ignored)
  const heroes = new Map([...summaries].map(([roomNid, each]) => [roomNid, each.heroes ?? []]))
  const memory = reader.sentMembers.begin(userId, deviceId, since && encodeToken(since))
  const states = await readStates(reader, request, plan.rooms, timelines, deltas, heroes, memory)
  const { toldTo } = toDevice
  const fresh = plan.rooms.filter((each) => each.fresh).map(({ room }) => room)
  const passing = readPassing(reader, request, view, accountData.ignored, receipts, fresh)
  const nextBatch = encodeToken({
    ...view.vector,
    ...passing.points,
    ...(toldTo !== undefined && { toDevice: toldTo }),
  })
  memory.keep(nextBatch)
  return {
    nextBatch,
    plan,
    byRoom: view.byRoom,
    timelines,
    seen,
    states,
    summaries,
    asked,
    extra,
    relations,
    accountData,
    ephemeral: passing.ephemeral,
    presence: passing.presence,
    unread,
    toDevice,
    keySupply,
    deviceLists,
  }
}

/** The rooms whose members changed, or that are told whole. */
function summarizedIn({ rooms }: Plan, deltas: Deltas) {
  const summarized = rooms.filter(({ kind, full, room }) => {
    const changes = deltas.get(room.roomNid) ?? []
    const moved = changes.some(({ type }) => type === 'm.room.member')
    return kind === 'join' && (full || moved || isReplaced(changes))
  })
  return summarized.map(({ room, high: at }) => ({ shard: room.shard, roomNid: room.roomNid, at }))
}

/** Where something was said or read. */
function countedRooms({ rooms }: Plan, receipts: ReceiptSection, { byRoom }: View): Place[] {
  const counted = new Set(rooms.flatMap(({ kind, room }) => (kind === 'join' ? [room] : [])))
  for (const roomNid of receipts.keys()) counted.add(byRoom.get(roomNid)!)
  return [...counted]
}

/** What the events of timelines replaced, and the events by which rooms were refused. */
function readExtra(
  sql: Sql,
  plan: Plan,
  timelines: ReadonlyMap<number, Timeline>,
): Promise<Map<number, ReadEvent>> {
  const rooms = new Map<number, RoomRef>()
  for (const room of [...plan.rooms.map((each) => each.room), ...plan.refused])
    rooms.set(room.roomNid, room)
  const wanted = plan.refused.flatMap(({ shard, eventNid: nid }) =>
    nid === undefined ? [] : [{ shard, nid }],
  )
  for (const { events } of timelines.values())
    for (const { replacedNid } of events)
      if (replacedNid !== undefined)
        wanted.push({ shard: shardOfNid(replacedNid), nid: replacedNid })
  return loadEvents(sql, rooms, wanted)
}
