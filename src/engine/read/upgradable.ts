import type { RoomEvent } from '#core/event/pdu.ts'
import type { Sql } from '#store/db.ts'
import * as findMembers from '#store/room/find-members.ts'
import * as readState from '#store/room/read-state.ts'
import { loadEvents } from './events.ts'
import type { RoomRef } from './room-ref.ts'

/** Bans that a new room takes over at most. */
const maxBans = 5_000

/** What a room that is replaced may hand on: its state without the members, and who is banned. */
export async function readUpgradable(
  sql: Sql,
  room: RoomRef,
  at: number,
): Promise<{ state: RoomEvent[]; bans: RoomEvent[] }> {
  const [rows, banned] = await Promise.all([
    readState.stateAt(sql, [{ shard: room.shard, roomNid: room.roomNid, at }], true),
    findMembers.bannedFrom(sql, room.shard, room.roomNid, maxBans),
  ])
  const nids = [...rows, ...banned].map((row) => ({ shard: room.shard, nid: row.event_nid }))
  const events = await loadEvents(sql, new Map([[room.roomNid, room]]), nids)
  const of = (each: { event_nid: number }) => events.get(each.event_nid)?.event ?? []
  return { state: rows.flatMap(of), bans: banned.flatMap(of) }
}
