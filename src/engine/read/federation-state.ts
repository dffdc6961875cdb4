import { notFound } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import * as serve from '#store/federation/serve.ts'
import { findServed, type ServedReader, servedText } from './federation-events.ts'
import type { RoomRef } from './room.ts'

/** Events read with one statement: a large state must not be in memory twice. */
const perStatement = 5_000

/** A room's state before an event, as numbers. */
export async function stateBeforeEvent(
  { sql, snapshots }: ServedReader,
  room: RoomRef,
  eventId: string,
): Promise<{ state: number[]; eventNid: number }> {
  const found = await findServed(sql, eventId)
  if (found?.room.roomNid !== room.roomNid) throw notFound('The event is not known here')
  const { row } = found
  if (row.snapshot_nid === null) throw notFound('The state before the event is not known here')
  const state = [...(await snapshots.whole(sql, row.snapshot_nid))]
  return { state, eventNid: row.event_nid }
}

/** The federation form of many events, as one JSON list. */
export async function listOf(sql: Sql, room: RoomRef, nids: readonly number[]): Promise<string> {
  const parts: string[] = []
  for (let from = 0; from < nids.length; from += perStatement) {
    const rows = await serve.byNids(sql, room.shard, nids.slice(from, from + perStatement))
    parts.push(rows.map((row) => servedText(room, row)).join(','))
  }
  return `[${parts.join(',')}]`
}

/** The IDs of many events. */
export async function idsOf(
  sql: Sql,
  { shard, version }: RoomRef,
  nids: readonly number[],
): Promise<string[]> {
  const rows = await serve.idsByNids(sql, shard, nids)
  return rows.map((row) => unpackEventId(row.event_id, version))
}
