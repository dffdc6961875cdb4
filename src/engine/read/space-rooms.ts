import { strippedEvent } from '#core/event/client-format.ts'
import { algorithmOf } from '#core/content/m.room.encryption.ts'
import { allowedRoomsOf, allowsKnocking, isRestricted } from '#core/content/m.room.join_rules.ts'
import { byOrder, childOf, type SpaceChild } from '#core/content/m.space.child.ts'
import { isObject, type JsonObject, numberOf } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import * as readSpaces from '#store/room/read-spaces.ts'
import { type DirectoryEntry, describeRooms } from './directory.ts'
import { loadEvents } from './events.ts'
import type { Reader } from './room.ts'

/** A room as `room_summary` and hierarchies show it, in the form of both APIs. */
export type RoomSummary = DirectoryEntry & {
  room_version?: string
  encryption?: string
  allowed_room_ids?: string[]
}

/** A room, and the rooms that it names its children. */
export type SpaceRoom = {
  readonly summary: RoomSummary
  readonly children: readonly SpaceChild[]
  /** The events that say so, stripped, in the same order. */
  readonly childrenState: readonly JsonObject[]
}

type Described = Pick<Reader, 'sql' | 'positions' | 'serverName'>

/** Not spec: children of one space that are looked at. */
const maxChildren = 500

/** Rooms that users of this server are in, of these. The number of statements does not depend on theirs. */
export async function readSpaceRooms(
  reader: Described,
  roomIds: readonly string[],
): Promise<Map<string, SpaceRoom>> {
  const found = new Map<string, SpaceRoom>()
  if (roomIds.length === 0) return found
  const { sql, serverName } = reader
  const rows = await readSpaces.followed(sql, roomIds, serverName)
  if (rows.length === 0) return found
  const [described, children] = await Promise.all([
    describeRooms(reader, rows),
    readSpaces.children(
      sql,
      rows.map((row) => row.shard),
      rows.map((row) => row.room_nid),
      maxChildren,
    ),
  ])
  const events = await loadEvents(
    sql,
    new Map(described.map(({ room }) => [room.roomNid, room])),
    children.map(({ shard, event_nid: nid }) => ({ shard, nid })),
  )
  const byRoom = Map.groupBy(events.values(), ({ room }) => room.roomId)
  for (const { room, entry, state } of described) {
    const { roomId, version } = room
    const named = (byRoom.get(roomId) ?? []).map(({ event: { pdu } }) => pdu)
    const rules = state.get('m.room.join_rules')
    const allowed = rules && isRestricted(version, entry.join_rule) ? allowedRoomsOf(rules) : []
    const algorithm = algorithmOf(state.get('m.room.encryption'))
    const summary: RoomSummary = {
      ...entry,
      room_version: version.id,
      ...(algorithm !== undefined && { encryption: algorithm }),
      ...(allowed.length > 0 && { allowed_room_ids: allowed }),
    }
    found.set(roomId, {
      summary,
      ...childrenIn(entry.room_type === 'm.space' ? named : []),
    })
  }
  return found
}

/** The children that events name, in order; those of other servers are not to be trusted in form. */
export function childrenIn(
  events: readonly JsonObject[],
): Pick<SpaceRoom, 'children' | 'childrenState'> {
  const named = events.slice(0, maxChildren).flatMap((event) => {
    const { content, state_key: stateKey, sender, type } = event
    if (type !== 'm.space.child' || typeof sender !== 'string') return []
    if (!isObject(content) || typeof stateKey !== 'string') return []
    const ts = numberOf(event['origin_server_ts']) ?? 0
    const child = childOf(stateKey, content, ts)
    const pdu = { content, sender, state_key: stateKey, type }
    return child ? [{ child, state: { ...strippedEvent(pdu), origin_server_ts: ts } }] : []
  })
  named.sort((a, b) => byOrder(a.child, b.child))
  return {
    children: named.map(({ child }) => child),
    childrenState: named.map(({ state }) => state),
  }
}

/** Whether anybody may see that a room is there: it can be joined, knocked at, or read. */
export function isOpenToAll({
  join_rule: rule,
  room_version: id,
  world_readable: readable,
}: RoomSummary) {
  if (readable || rule === undefined || rule === 'public') return true
  const version = id === undefined ? undefined : roomVersions.get(id)
  // Of a room of a version that is not told, what its server says is believed.
  return version ? allowsKnocking(version, rule) : rule === 'knock' || rule === 'knock_restricted'
}

/**
 * Which of some rooms a user may see.
 *
 * Spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
 */
export async function visibleToUser(
  { sql }: Pick<Described, 'sql'>,
  rooms: readonly SpaceRoom[],
  userId: string,
): Promise<Set<string>> {
  const closed = rooms.filter(({ summary }) => !isOpenToAll(summary))
  const memberships = new Map<string, string>()
  const ids = closed.flatMap(({ summary }) => [
    summary.room_id,
    ...(summary.allowed_room_ids ?? []),
  ])
  if (ids.length > 0)
    for (const row of await readSpaces.membershipsIn(sql, userId, [...new Set(ids)]))
      memberships.set(row.room_id, row.membership)
  return visible(rooms, {
    isIn: (roomId) => memberships.get(roomId) === 'join',
    isInvited: (roomId) => memberships.get(roomId) === 'invite',
  })
}

/** Which of some rooms of ours a user of another server could get into. */
export async function visibleToServer(
  { sql }: Pick<Described, 'sql'>,
  rooms: readonly SpaceRoom[],
  server: string,
): Promise<Set<string>> {
  const closed = rooms.filter(({ summary }) => !isOpenToAll(summary)).map(({ summary }) => summary)
  const own = closed.map((summary) => summary.room_id)
  if (own.length === 0) return visible(rooms, { isIn: () => false, isInvited: () => false })
  const allowed = closed.flatMap((summary) => summary.allowed_room_ids ?? [])
  const [joined, invited] = await Promise.all([
    readSpaces.withServer(sql, server, [...new Set([...own, ...allowed])]),
    readSpaces.withInvited(sql, server, own),
  ])
  const isIn = new Set(joined.map((row) => row.room_id))
  const isInvited = new Set(invited.map((row) => row.room_id))
  return visible(rooms, {
    isIn: (roomId) => isIn.has(roomId),
    isInvited: (roomId) => isInvited.has(roomId),
  })
}

function visible(
  rooms: readonly SpaceRoom[],
  { isIn, isInvited }: Record<'isIn' | 'isInvited', (roomId: string) => boolean>,
): Set<string> {
  const seen = rooms.filter(
    ({ summary }) =>
      isOpenToAll(summary) ||
      isIn(summary.room_id) ||
      isInvited(summary.room_id) ||
      (summary.allowed_room_ids ?? []).some(isIn),
  )
  return new Set(seen.map(({ summary }) => summary.room_id))
}
