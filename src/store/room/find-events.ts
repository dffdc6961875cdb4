import { type Sql, byteaArray } from '#store/db.ts'

/** An event as the owner of its room needs it to decide others. */
export type FoundEvent = {
  event_nid: number
  room_nid: number
  event_id: Uint8Array
  type_nid: number
  state_key_nid: number | null
  sender_nid: number
  flags: number
  snapshot_nid: number | null
  chain: number | null
  chain_index: number | null
  auth_nids: number[]
  auth_order: number | null
  json: string
}

const columns = (sql: Sql) => sql`
  e.event_nid, e.room_nid, e.event_id, e.type_nid, e.state_key_nid, e.sender_nid, e.flags,
  e.snapshot_nid, e.chain, e.chain_index, e.auth_nids, a.auth_order, j.json`

/** Those of these IDs that are events, of whatever room. */
export const byIds = (sql: Sql, ids: readonly Uint8Array[]) =>
  sql<FoundEvent[]>`
    select ${columns(sql)}
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    left join auth_graph a on a.shard = e.shard and a.event_nid = e.event_nid
    where i.event_id = any(${byteaArray(sql, ids)}::bytea[])`

/** Events by number. */
export const byNids = (sql: Sql, shard: number, nids: readonly number[]) =>
  sql<FoundEvent[]>`
    select ${columns(sql)}
    from events e
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    left join auth_graph a on a.shard = e.shard and a.event_nid = e.event_nid
    where e.shard = ${shard} and e.event_nid = any(${nids as number[]}::bigint[])`

/** Just enough of an event to know what it stands for in a state. */
export type Standing = {
  event_id: Uint8Array
  event_nid: number
  state_key_nid: number | null
  flags: number
}

/** Those of these IDs that are events of a room, without their text: for whole states. */
export const standings = (sql: Sql, shard: number, roomNid: number, ids: readonly Uint8Array[]) =>
  sql<Standing[]>`
    select e.event_id, e.event_nid, e.state_key_nid, e.flags
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    where i.event_id = any(${byteaArray(sql, ids)}::bytea[]) and i.shard = ${shard}
      and e.room_nid = ${roomNid}`
