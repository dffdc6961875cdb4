import type { Filter } from '#core/filter.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { parseJson } from '#core/canonical-json.ts'
import { shardOf, shardOfNid } from '#core/shard.ts'
import { eventIdFrom } from '#engine/read/events.ts'
import type { Place } from '#engine/read/interest.ts'
import type { Positions, View } from '#engine/read/positions.ts'
import { type RoomRef, roomsByNid } from '#engine/read/room.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { JsonObject } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/room/read-keys.ts'
import * as readMembers from '#store/room/read-members.ts'
import * as readState from '#store/room/read-state.ts'
import * as userChanges from '#store/user/read-changes.ts'

/** What one request asks for. */
export type SyncRequest = {
  readonly userId: string
  readonly deviceId: string
  readonly since: Vector | undefined
  readonly filter: Filter
  readonly fullState: boolean
  readonly useStateAfter: boolean
}

/** A room that gets a timeline and state. */
export type RoomPlan = {
  readonly room: RoomRef
  readonly place: Place
  readonly kind: 'join' | 'leave'
  /** The stretch of its shard's stream to tell: after `low`, up to and including `high`. */
  readonly low: number
  readonly high: number
  /** Up to where the reader was joined. */
  readonly joinedUntil: number
  /** Whether to tell the whole state instead of what changed. */
  readonly full: boolean
  /** Joined since the last sync: what was told of the room before does not count. */
  readonly fresh: boolean
}

export type Plan = {
  readonly rooms: RoomPlan[]
  readonly invites: Place[]
  readonly knocks: Place[]
  /** Rooms left without ever having been in: an invite refused, a knock denied. */
  readonly refused: { readonly room: RoomRef; readonly place: Place }[]
}

/** Which rooms have something to tell between two vectors, and from where to where. */
export async function planRooms(
  sql: Sql,
  positions: Positions,
  request: SyncRequest,
  { vector, places }: View,
): Promise<Plan> {
  const { since, filter } = request
  const wanted = places.filter((place) => filter.rooms.accepts(place.roomId))
  const moved = since ? wanted.filter((place) => place.position > since.rooms[place.shard]!) : []
  const joins = wanted.filter(
    (place) =>
      place.membership === 'join' &&
      (!since ||
        request.fullState ||
        place.position > since.rooms[place.shard]! ||
        positions.roomChanged(place.shard, place.roomNid, since.rooms[place.shard]!) !== false),
  )
  const departed = wanted.filter(
    ({ membership, shard, position }) =>
      (membership === 'leave' || membership === 'ban') &&
      (since ? position > since.rooms[shard]! : filter.includeLeave),
  )
  const news = since ? moved : wanted
  const [rooms, before, leftAt] = await Promise.all([
    roomsByNid(sql, [...joins, ...departed]),
    since ? membershipsAt(sql, moved, request.userId, since) : new Map<number, Before>(),
    departures(sql, departed, request.userId),
  ])
  const forgotten = await forgottenOf(sql, departed, rooms, request.userId)
  const plan: Plan = {
    rooms: [],
    invites: news.filter(({ membership }) => membership === 'invite'),
    knocks: news.filter(({ membership }) => membership === 'knock'),
    refused: [],
  }
  for (const place of joins) {
    const room = rooms.get(place.roomNid)
    if (!room) continue
    const low = since?.rooms[place.shard] ?? 0
    const wasJoined =
      since !== undefined &&
      (place.position <= low || before.get(place.roomNid)?.membership === 'join')
    plan.rooms.push({
      room,
      place,
      kind: 'join',
      low: wasJoined ? low : 0,
      high: vector.rooms[place.shard]!,
      joinedUntil: Infinity,
      full: request.fullState || !wasJoined,
      fresh: since !== undefined && !wasJoined,
    })
  }
  for (const place of departed) {
    const room = rooms.get(place.roomNid)
    const past = before.get(place.roomNid)
    if (!room || past?.eventNid === place.eventNid || forgotten.has(place.roomNid)) continue
    const until = leftAt.get(place.roomNid)
    const low = since?.rooms[place.shard] ?? 0
    // They were joined at some point of what is to be told, or it is told that they never were.
    if (until === undefined || until <= low) {
      if (since) plan.refused.push({ room, place })
      continue
    }
    const wasJoined = past?.membership === 'join'
    plan.rooms.push({
      room,
      place,
      kind: 'leave',
      low: wasJoined ? low : 0,
      high: place.position,
      joinedUntil: until,
      full: request.fullState || !wasJoined,
      fresh: since !== undefined && !wasJoined,
    })
  }
  return plan
}

type Before = { eventNid: number; membership: string | undefined }

/** What a user was in rooms at a vector. */
async function membershipsAt(
  sql: Sql,
  places: readonly Place[],
  userId: string,
  at: Vector,
): Promise<Map<number, Before>> {
  const found = new Map<number, Before>()
  if (places.length === 0) return found
  const rows = await readState.keysAt(
    sql,
    places.map(({ shard, roomNid }) => ({
      shard,
      roomNid,
      at: at.rooms[shard]!,
      type: 'm.room.member',
      stateKey: userId,
    })),
  )
  const nids = rows.map((row) => row.event_nid)
  const texts = new Map<number, string>()
  if (nids.length)
    for (const row of await readKeys.jsonOf(sql, nids.map(shardOfNid), nids))
      texts.set(row.event_nid, row.json)
  for (const row of rows)
    found.set(row.room_nid, {
      eventNid: row.event_nid,
      membership: membershipIn(texts.get(row.event_nid)),
    })
  return found
}

/** Where a user who is not joined any more last was, of the rooms in which they ever were. */
async function departures(
  sql: Sql,
  places: readonly Place[],
  userId: string,
): Promise<Map<number, number>> {
  const found = new Map<number, number>()
  if (places.length === 0) return found
  const rows = await readMembers.membershipHistory(
    sql,
    places.map(({ shard, roomNid, position }) => ({ shard, roomNid, at: position })),
    userId,
    5,
  )
  for (const row of rows) {
    if (found.has(row.room_nid) || row.old_json === null) continue
    if (membershipIn(row.old_json) === 'join') found.set(row.room_nid, row.position)
  }
  return found
}

/** Those of the rooms that the user forgot, and was no member of again. */
async function forgottenOf(
  sql: Sql,
  places: readonly Place[],
  rooms: ReadonlyMap<number, RoomRef>,
  userId: string,
): Promise<ReadonlySet<number>> {
  const found = new Set<number>()
  if (places.length === 0) return found
  const roomIds = places.map((place) => place.roomId)
  const rows = await userChanges.forgotten(sql, shardOf(userId), userId, roomIds)
  const events = new Map(rows.map((row) => [row.room_id, row.member_event]))
  const candidates = places.filter((place) => events.has(place.roomId))
  if (candidates.length === 0) return found
  const nids = candidates.map((place) => place.eventNid)
  const ids = new Map(
    (await readKeys.eventIdsOf(sql, nids.map(shardOfNid), nids)).map((row) => [
      row.event_nid,
      row.event_id,
    ]),
  )
  for (const { roomNid, roomId, eventNid } of candidates) {
    const room = rooms.get(roomNid)
    const id = ids.get(eventNid)
    // A later membership voids what was forgotten.
    if (room && id && eventIdFrom(room.version, id) === events.get(roomId)) found.add(roomNid)
  }
  return found
}

function membershipIn(json: string | undefined): string | undefined {
  if (json === undefined) return undefined
  return membershipOf((parseJson(json) as JsonObject)['content'] as JsonObject)
}
