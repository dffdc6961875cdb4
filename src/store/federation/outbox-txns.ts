import type { Sql } from '#store/db.ts'

/** A transaction that is made durable before it is sent, and repeated as it is. */
export type OutboxTxn = {
  server: string
  txn_id: string
  origin_server_ts: number
  /** Its PDUs, in order. */
  shards: number[]
  event_nids: number[]
  /** Its EDUs, a JSON list. */
  edus: string
  /** Those of them that stand in outbox_edus. */
  edu_ids: number[]
  /** Up to which position it brings the server, room by room. */
  room_shards: number[]
  room_nids: number[]
  room_positions: number[]
}

/** The transaction in flight to a server. */
export async function get(sql: Sql, server: string): Promise<OutboxTxn | undefined> {
  const [row] = await sql<OutboxTxn[]>`
    select server, txn_id, origin_server_ts, shards, event_nids, edus, edu_ids,
      room_shards, room_nids, room_positions
    from outbox_txns where server = ${server}`
  return row
}

export async function add(sql: Sql, txn: OutboxTxn): Promise<void> {
  await sql`
    insert into outbox_txns (server, txn_id, origin_server_ts, shards, event_nids, edus, edu_ids,
      room_shards, room_nids, room_positions)
    values (${txn.server}, ${txn.txn_id}, ${txn.origin_server_ts},
      ${txn.shards}::smallint[], ${txn.event_nids}::bigint[], ${txn.edus},
      ${txn.edu_ids}::bigint[], ${txn.room_shards}::smallint[], ${txn.room_nids}::bigint[],
      ${txn.room_positions}::bigint[])`
}

/** The server has it: what it brought leaves the queue. One transaction, row by row in order. */
export async function finish(sql: Sql, txn: OutboxTxn): Promise<void> {
  await sql`delete from outbox_txns where server = ${txn.server} and txn_id = ${txn.txn_id}`
  if (txn.edu_ids.length > 0)
    await sql`delete from outbox_edus where edu_id = any(${txn.edu_ids}::bigint[])`
  if (txn.room_nids.length > 0) await advance(sql, txn)
}

/** Moves a server's rooms on, and drops those that have nothing more for it. */
export async function advance(
  sql: Sql,
  rooms: Pick<OutboxTxn, 'server' | 'room_shards' | 'room_nids' | 'room_positions'>,
): Promise<void> {
  const sent = sql`
    select * from unnest(${rooms.room_shards}::smallint[], ${rooms.room_nids}::bigint[],
      ${rooms.room_positions}::bigint[]) as t (shard, room_nid, position)`
  await sql`
    select 1 from outbox_rooms r join (${sent}) s using (shard, room_nid)
    where r.server = ${rooms.server}
    order by r.server, r.shard, r.room_nid
    for update of r`
  await sql`
    delete from outbox_rooms r using (${sent}) s
    where r.server = ${rooms.server} and r.shard = s.shard and r.room_nid = s.room_nid
      and r.last_position <= s.position`
  await sql`
    update outbox_rooms r set first_position = greatest(r.first_position, s.position + 1)
    from (${sent}) s
    where r.server = ${rooms.server} and r.shard = s.shard and r.room_nid = s.room_nid`
}
