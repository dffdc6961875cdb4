import type { Filter } from '#core/filter.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { parseJson } from '#core/canonical-json.ts'
import { shardOfNid } from '#core/shard.ts'
import { forgottenOf } from '#engine/read/forgotten.ts'
import type { Place } from '#engine/read/places.ts'
import type { Positions, View } from '#engine/read/positions.ts'
import type { SyncToken } from '#engine/read/sync-token.ts'
import type { Vector } from '#engine/read/vector.ts'
import { stillJoined } from '#engine/read/visible.ts'
import type { JsonObject } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/room/read-keys.ts'
import * as readMembers from '#store/room/read-members.ts'
import * as readState from '#store/room/read-state.ts'

/** What one request asks for. */
export type SyncRequest = {
  readonly userId: string
  readonly deviceId: string
  readonly since: SyncToken | undefined
  readonly filter: Filter
  readonly fullState: boolean
  /** Where to tell the state after the timeline, instead of `state` before it. */
  readonly stateAfter: 'state_after' | 'org.matrix.msc4222.state_after' | undefined
}

/** A room that gets a timeline and state. */
export type RoomPlan = {
  readonly room: Place
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

/** A membership that an event says. */
export type Said = Place & { readonly eventNid: number }

export type Plan = {
  readonly rooms: RoomPlan[]
  readonly invites: Said[]
  readonly knocks: Said[]
  /** Rooms left without ever having been in: an invite refused, a knock denied. */
  readonly refused: Place[]
}

/** Which rooms have something to tell between two vectors, and from where to where. */
export async function planRooms(
  sql: Sql,
  positions: Positions,
  request: SyncRequest,
  { vector, places }: Pick<View, 'vector' | 'places'>,
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
  const [before, leftAt, forgotten] = await Promise.all([
    since ? membershipsAt(sql, moved, request.userId, since) : new Map<number, Before>(),
    departures(sql, departed, request.userId),
    forgottenOf(sql, request.userId, departed),
  ])
  const plan: Plan = {
    rooms: [],
    invites: news.filter(isSaid).filter(({ membership }) => membership === 'invite'),
    knocks: news.filter(isSaid).filter(({ membership }) => membership === 'knock'),
    refused: [],
  }
  const known: Known = { since, vector, fullState: request.fullState, before }
  for (const room of joins) plan.rooms.push(planJoined(room, known))
  for (const room of departed) {
    const past = before.get(room.roomNid)
    // Told before: what was read of it was only uncertain.
    if (past && past.eventNid === room.eventNid) continue
    // Not spec: who was told of the room must be told that it is left, forgotten or not.
    if (forgotten.has(room.roomNid) && !isKnown(past)) continue
    const until = leftAt.get(room.roomNid)
    const told = until === undefined ? undefined : planLeft(room, until, known)
    if (told) plan.rooms.push(told)
    // Whom no event took out, and who never knew the room, has nothing to hear.
    else if (since && (isSaid(room) || isKnown(past) || past?.membership === 'ban'))
      plan.refused.push(room)
  }
  return plan
}

/** Whether the client has the room among its joined, invited or knocked ones. */
const isKnown = (past: Before | undefined): boolean =>
  past?.membership === 'join' || past?.membership === 'invite' || past?.membership === 'knock'

const isSaid = (place: Place): place is Said => place.eventNid !== undefined

type Known = {
  since: Vector | undefined
  vector: Vector
  fullState: boolean
  before: ReadonlyMap<number, Before>
}

function planJoined(room: Place, { since, vector, fullState, before }: Known): RoomPlan {
  const low = since?.rooms[room.shard] ?? 0
  const wasJoined =
    since !== undefined && (room.position <= low || before.get(room.roomNid)?.membership === 'join')
  return {
    room,
    kind: 'join',
    low: wasJoined ? low : 0,
    high: vector.rooms[room.shard]!,
    joinedUntil: stillJoined,
    full: fullState || !wasJoined,
    fresh: since !== undefined && !wasJoined,
  }
}

/** Undefined if they were not joined at any point of what is to be told. */
function planLeft(
  room: Place,
  until: number,
  { since, fullState, before }: Known,
): RoomPlan | undefined {
  const low = since?.rooms[room.shard] ?? 0
  if (until <= low) return undefined
  const wasJoined = before.get(room.roomNid)?.membership === 'join'
  return {
    room,
    kind: 'leave',
    low: wasJoined ? low : 0,
    high: room.position,
    joinedUntil: until,
    full: fullState || !wasJoined,
    fresh: since !== undefined && !wasJoined,
  }
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
  const rows = await readMembers.lastLeft(
    sql,
    places.map(({ shard, roomNid, position }) => ({ shard, roomNid, at: position })),
    userId,
  )
  for (const row of rows) found.set(row.room_nid, row.position)
  return found
}

function membershipIn(json: string | undefined): string | undefined {
  if (json === undefined) return undefined
  return membershipOf((parseJson(json) as JsonObject)['content'] as JsonObject)
}
