import { algorithmOf } from '#core/content/m.room.encryption.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as listRooms from '#store/room/list-rooms.ts'
import { describeRooms } from './directory.ts'
import { loadEvents } from './events.ts'
import type { Reader } from './room.ts'
import { type RoomRef, toRef } from './room-ref.ts'

/** Rooms as administrators' tools read them. */

export type { RoomFilter, RoomOrder } from '#store/room/list-rooms.ts'
export { roomOrders } from '#store/room/list-rooms.ts'
export { largest as largestRooms } from '#store/room/room-sizes.ts'

type ListReader = Pick<Reader, 'sql' | 'positions' | 'serverName'>

export type RoomPage = {
  order: listRooms.RoomOrder
  backwards: boolean
  from: number
  limit: number
}

/** A page of rooms, and how many there are. */
export async function listedRooms(
  reader: ListReader,
  filter: listRooms.RoomFilter,
  page: RoomPage,
) {
  const { sql, serverName } = reader
  const [rows, total] = await Promise.all([
    listRooms.page(sql, serverName, filter, page),
    listRooms.count(sql, filter),
  ])
  return { rooms: await write(reader, rows), total }
}

/** One room, with what lists leave out; undefined if no user of ours is or was in it. */
export async function listedRoom(reader: ListReader, roomId: string) {
  const { sql, serverName } = reader
  const row = await listRooms.one(sql, serverName, roomId)
  const [room] = row ? await write(reader, [row]) : []
  if (!row || !room) return undefined
  const devices = await listRooms.localDevices(sql, row.shard, row.room_nid)
  return { ...room, joined_local_devices: devices, forgotten: row.local_members === 0 }
}

async function write(reader: ListReader, rows: readonly listRooms.ListedRoom[]) {
  const described = await describeRooms(reader, rows)
  const byId = new Map(rows.map((row) => [row.room_id, row]))
  const { sql } = reader
  const creators = await creatorsOf(
    sql,
    described.map(({ room }) => room),
  )
  return described.map(({ room, entry, state }) => {
    const row = byId.get(room.roomId)!
    const text = (type: string, key: string) => {
      const value = state.get(type)?.[key]
      return typeof value === 'string' ? value : null
    }
    return {
      room_id: room.roomId,
      name: entry.name ?? null,
      canonical_alias: entry.canonical_alias ?? null,
      topic: entry.topic ?? null,
      avatar: entry.avatar_url ?? null,
      joined_members: row.members,
      joined_local_members: row.local_members,
      version: row.version,
      creator: creators.get(room.roomNid) ?? null,
      encryption: algorithmOf(state.get('m.room.encryption')) ?? null,
      federatable: state.get('m.room.create')?.['m.federate'] !== false,
      public: row.published,
      join_rules: text('m.room.join_rules', 'join_rule'),
      guest_access: text('m.room.guest_access', 'guest_access'),
      history_visibility: text('m.room.history_visibility', 'history_visibility'),
      state_events: row.state_events,
      room_type: entry.room_type ?? null,
    }
  })
}

/** Who sent the create event of rooms. */
async function creatorsOf(sql: Reader['sql'], rooms: readonly RoomRef[]) {
  const refs = new Map(rooms.map((room) => [room.roomNid, room]))
  const nids = await listRooms.createEvents(
    sql,
    rooms.map(({ shard }) => shard),
    rooms.map(({ roomNid }) => roomNid),
  )
  const events = await loadEvents(
    sql,
    refs,
    nids.map(({ shard, event_nid: nid }) => ({ shard, nid })),
  )
  return new Map([...events.values()].map(({ room, event }) => [room.roomNid, event.sender]))
}

/** Users of this server who are in a room or could be at once. */
export const localMembersOf = ({ sql, serverName }: ListReader, roomId: string) =>
  listRooms.localMembersOf(sql, serverName, roomId)

/** What a user is to every room that is known here. */
export const membershipsOf = async (sql: Reader['sql'], userId: string) =>
  new Map((await listRooms.membershipsOf(sql, userId)).map((row) => [row.room_id, row.membership]))

/** The events that nothing of a room follows yet. */
export async function extremitiesOf(sql: Reader['sql'], { shard, roomNid, version }: RoomRef) {
  const rows = await listRooms.extremities(sql, shard, roomNid)
  return rows.map((row) => ({
    event_id: unpackEventId(row.event_id, version),
    state_group: null,
    depth: row.depth,
    received_ts: row.origin_server_ts,
  }))
}

/** The room of an event that is known here. */
export async function roomOfEvent(
  sql: Reader['sql'],
  eventId: string,
): Promise<RoomRef | undefined> {
  const [row] = await listRooms.roomOfEvent(sql, packEventId(eventId))
  return row && toRef(row)
}
