import { EventFilter } from '#core/filter.ts'
import { type JsonObject, setKey } from '#core/json.ts'
import { type Audience, type ReadEvent, loadEvents } from '#engine/read/events.ts'
import type { Place } from '#engine/read/places.ts'
import type { View } from '#engine/read/positions.ts'
import { encodeToken } from '#engine/read/sync-token.ts'
import { readStripped } from '#engine/read/stripped.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Seen } from '#engine/read/visible.ts'
import { type AccountData, readAccountData } from '#engine/sync/account-data.ts'
import type { Arrivals } from '#engine/sync/arrivals.ts'
import { readRelated } from '#engine/sync/related.ts'
import { type Timeline, readTimelines } from '#engine/sync/timelines.ts'
import type { Unread } from '#engine/sync/arrivals.ts'
import { UnreadCounts } from '#engine/sync/unread.ts'
import type { Syncing } from '#engine/sync/v3.ts'
import { AwayRooms, isAsked } from './away.ts'
import { type Choice, type Indexes, chooseRooms } from './choose.ts'
import { type Link, type SentRoom, SlidingConnections } from './connections.ts'
import { readExtensions } from './extensions.ts'
import { JoinedOrder } from './joined-order.ts'
import { OwnLists } from './own-lists.ts'
import { readRoomStates } from './read-state.ts'
import { asSyncRequest, type SlidingRequest } from './request.ts'
import { RoomIndex } from './room-index.ts'
import { type Telling, maxCost, planTellings } from './tell.ts'
import { type RoomParts, unreadOf, writeRoom } from './write-rooms.ts'

/** What sliding sync remembers: what rooms are like, and what clients were told. */
export class Sliding implements Indexes {
  readonly connections: SlidingConnections
  readonly rooms = new RoomIndex()
  readonly joined = new JoinedOrder()
  readonly away = new AwayRooms()
  readonly own = new OwnLists()

  /** What one answer tells of rooms at most. */
  readonly cost: number

  constructor(limits: { rooms?: number; cost?: number } = {}) {
    this.cost = limits.cost ?? maxCost
    this.connections = new SlidingConnections(limits)
  }
}

type Body = {
  lists: { [name: string]: { count: number; ops?: JsonObject[] } }
  rooms: JsonObject
  extensions: JsonObject
}
type Answer = Body & { pos: string }
type Reading = Syncing & { readonly sliding: Sliding }

/** State entries of one room that are kept in mind as told, at most. */
const maxRequired = 1000

/**
 * Answers one request of sliding sync: at once if it is the first of a connection or there is anything
 * to tell, else as soon as there is, else when `timeoutMs` is over.
 *
 * Each round is read anew from what the client has, for a vector fixed first; nothing is kept of it
 * but, with the token of the answer, what the answer told.
 *
 * MSC4186
 */
export async function slidingSync(
  reader: Reading,
  request: SlidingRequest,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<Answer> {
  const deadline = performance.now() + timeoutMs
  const { userId, deviceId, connId, pos } = request
  const link = reader.sliding.connections.open(userId, deviceId, connId, pos)
  const mayWait = () =>
    link.point !== undefined &&
    !reader.positions.closed &&
    !signal.aborted &&
    performance.now() < deadline
  for (;;) {
    const { answer, vector, typing } = await tryRound(reader, request, link, mayWait)
    if (answer) return answer
    const left = deadline - performance.now()
    await reader.positions.waitFor(userId, vector, signal, left, { typing })
  }
}

/** One round; without an answer if there is nothing to tell. Whoever waits then keeps nothing of it. */
async function tryRound(
  reader: Reading,
  request: SlidingRequest,
  link: Link,
  mayWait: () => boolean,
): Promise<{ answer: Answer | undefined; vector: Vector; typing: number }> {
  const view = await reader.positions.view(request.userId)
  const round = await readRound(reader, request, view, link)
  const { vector, nudges } = view
  const { typing } = nudges
  if (!round.hasNews && mayWait()) return { answer: undefined, vector, typing }
  return { answer: { pos: round.keep(), ...round.json }, vector, typing }
}

type Round = { json: Body; hasNews: boolean; keep: () => string }

async function readRound(
  reader: Reading,
  request: SlidingRequest,
  view: View,
  link: Link,
): Promise<Round> {
  const { sql, sliding } = reader
  const { vector } = view
  const { userId } = request
  const { facts } = reader
  const known = facts && { facts, news: view.news }
  const reading = readAccountData(sql, userId, link.point?.vector, vector, known)
  const choice = await chooseRooms(reader, sliding, request, view, link, reading)
  const { accountData } = choice
  const tellings = await planTellings(sql, choice.wanted, view, sliding.cost)
  const members = link.members()
  const parts = await readRooms(reader, request, view, {
    link,
    choice,
    accountData,
    tellings,
    members,
  })
  const extensions = await readExtensions(reader, {
    request,
    view,
    link,
    choice,
    accountData,
    anew: anewIn(tellings, parts),
  })
  const read = extensions.read.filter(({ roomNid }) => !parts.unread.has(roomNid))
  const unread = await countUnread(reader, userId, accountData, read, view)
  const { rooms, sent } = writeRooms(reader, request, view, { link, tellings, parts, read, unread })
  const counts = new Map(Array.from(choice.windows, ([name, { count }]) => [name, count]))
  const told = link.point?.counts
  const listsMoved = [...counts].some(([name, count]) => told?.get(name) !== count)
  return {
    hasNews: Object.keys(rooms).length > 0 || extensions.hasNews || listsMoved,
    json: { lists: writeLists(choice), rooms, extensions: extensions.json },
    keep: () =>
      link.keep(
        { vector, typing: extensions.typing, counts, scopes: extensions.scopes, rooms: sent },
        members,
      ),
  }
}

/** Rooms of a list that are named in each answer. */
const maxNamed = 100

/**
 * How long the lists are. Not spec: as MSC3575 has it and other servers do, with the rooms that stand in
 * each range, though clients go by `bump_stamp`; long lists do without.
 */
function writeLists({ windows }: Choice): Body['lists'] {
  const lists: Body['lists'] = {}
  for (const [name, { count, parts }] of windows) {
    const named = parts.reduce((sum, { entries }) => sum + entries.length, 0)
    const ops = parts.map(({ range, entries }) => ({
      op: 'SYNC',
      range: [...range],
      room_ids: entries.map(({ place }) => place.roomId),
    }))
    setKey(lists as JsonObject, name, { count, ...(named <= maxNamed && { ops }) })
  }
  return lists
}

type Reads = {
  link: Link
  choice: Choice
  accountData: AccountData
  tellings: readonly Telling[]
  members: ReturnType<Link['members']>
}

async function readRooms(
  reader: Reading,
  request: SlidingRequest,
  { vector, ...view }: View,
  { link, choice, accountData, tellings, members }: Reads,
): Promise<RoomParts> {
  const { sql } = reader
  const { userId } = request
  const { ignored } = accountData
  const asked = tellings.map(({ entry }) => entry.place).filter(isAsked)
  const { timelines, seen, arrivals } = await readAllTimelines(reader, userId, ignored, tellings)
  const places = tellings
    .map(({ entry }) => entry.place)
    .filter(({ membership }) => membership === 'join')
  const [stripped, { states, extra }, unread, relations, out] = await Promise.all([
    readStripped(
      sql,
      asked.filter((place) => place.eventNid !== undefined) as (Place & { eventNid: number })[],
    ),
    readRoomStates(sql, userId, reader.clock(), tellings, timelines, members),
    countUnread(reader, userId, accountData, places, { vector, ...view }, arrivals),
    readRelated(reader, asSyncRequest(request, undefined), timelines, seen, ignored),
    readEndings(reader, tellings),
  ])
  return {
    timelines,
    seen,
    states,
    extra: new Map([...extra, ...out]),
    relations,
    asked: stripped,
    unread,
    own: choice.own,
    prevBatch: encodeToken(vector),
    since: link.point?.vector.rooms,
  }
}

/** Rooms differ in how long their timelines are: each length is read at once. */
async function readAllTimelines(
  { sql, snapshots }: Reading,
  userId: string,
  ignored: ReadonlySet<string>,
  tellings: readonly Telling[],
) {
  const timelines = new Map<number, Timeline>()
  const seen = new Map<number, Seen>()
  const arrivals = new Map<number, Arrivals>()
  const lengths = Map.groupBy(
    tellings.filter(({ plan, config }) => plan && config.limit > 0),
    ({ config }) => config.limit,
  )
  const read = await Promise.all(
    Array.from(lengths, ([limit, some]) =>
      readTimelines(
        { sql, snapshots },
        { userId, ignored, stateAfter: true },
        new EventFilter({ limit }),
        some.map(({ plan }) => plan!),
      ),
    ),
  )
  for (const each of read) {
    for (const [roomNid, found] of each.timelines) timelines.set(roomNid, found)
    for (const [nid, found] of each.seen) seen.set(nid, found)
    for (const [roomNid, found] of each.arrivals) arrivals.set(roomNid, found)
  }
  return { timelines, seen, arrivals }
}

/** The events that ended invites and knocks. */
function readEndings(
  { sql }: Reading,
  tellings: readonly Telling[],
): Promise<Map<number, ReadEvent>> {
  const ended = tellings.flatMap(({ plan, entry: { place } }) =>
    plan || isAsked(place) || place.eventNid === undefined ? [] : [place],
  )
  return loadEvents(
    sql,
    new Map(ended.map((place) => [place.roomNid, place])),
    ended.map(({ shard, eventNid }) => ({ shard, nid: eventNid! })),
  )
}

function countUnread(
  { sql, positions, unread }: Reading,
  userId: string,
  { ignored }: AccountData,
  places: readonly Place[],
  { vector, news }: View,
  arrivals?: ReadonlyMap<number, Arrivals>,
): Promise<Map<number, Unread>> {
  const counts = unread ?? new UnreadCounts()
  const reader = { sql, positions, userId, ignored, news, ...(arrivals && { arrivals }) }
  return counts.read(reader, places, vector)
}

/** What is told of rooms that are told anew, for receipts on it. */
function anewIn(tellings: readonly Telling[], { timelines }: RoomParts): Map<number, string[]> {
  const anew = new Map<number, string[]>()
  for (const { initial, expanded, entry } of tellings)
    if (initial || expanded) {
      const { events } = timelines.get(entry.place.roomNid) ?? { events: [] }
      anew.set(
        entry.place.roomNid,
        events.map(({ event }) => event.eventId),
      )
    }
  return anew
}

type Writing = {
  link: Link
  tellings: readonly Telling[]
  parts: RoomParts
  /** Rooms in which receipts moved, and what is unread there. */
  read: readonly Place[]
  unread: ReadonlyMap<number, Unread>
}

function writeRooms(
  { clock, erased }: Reading,
  { userId, deviceId }: SlidingRequest,
  { vector }: View,
  { link, tellings, parts, read, unread }: Writing,
) {
  const now = clock()
  const audience: Audience = {
    userId,
    deviceId,
    now,
    format: 'client',
    withoutRoomId: true,
    erased,
  }
  const rooms: JsonObject = {}
  const sent = new Map<number, SentRoom>()
  for (const telling of tellings) {
    const { place } = telling.entry
    const room = writeRoom(telling, parts, audience)
    if (room) rooms[place.roomId] = room
    sent.set(place.roomNid, sentOf(telling, parts, vector.rooms[place.shard]!))
  }
  for (const place of read) {
    const counts = unreadOf(unread.get(place.roomNid))
    const known = sent.get(place.roomNid) ?? link.room(place.roomNid)
    const text = JSON.stringify(counts)
    if (!known || known.counts === text) continue
    rooms[place.roomId] ??= counts
    sent.set(place.roomNid, { ...known, counts: text })
  }
  return { rooms, sent }
}

/** What the client then has of a room. */
function sentOf(telling: Telling, { timelines, unread }: RoomParts, at: number): SentRoom {
  const { entry, config, initial, sent, deltas } = telling
  const { roomNid, membership, eventNid } = entry.place
  const { required, limit } = config
  // What it had before and did not ask for now is still true if nothing of it changed.
  const isTrue =
    !initial &&
    sent !== undefined &&
    deltas.every(
      ({ type, state_key: key }) =>
        type === null ||
        key === null ||
        required.matches(type, key) ||
        !sent.required.matches(type, key),
    )
  const both = isTrue ? sent.required.union(required) : required
  const has = both.size > maxRequired ? required : both
  const gap = initial || timelines.get(roomNid)?.limited === true
  return {
    at,
    membership,
    eventNid,
    limit: gap || !sent ? limit : Math.max(limit, sent.limit),
    required: sent && has.name === sent.required.name ? sent.required : has,
    counts: JSON.stringify(unreadOf(unread.get(roomNid))),
  }
}
