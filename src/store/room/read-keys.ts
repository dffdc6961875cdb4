import type { Sql } from '#store/db.ts'

/** The numbers of state keys; those that no event ever had are left out. */
export const stateKeyNids = (sql: Sql, keys: readonly { type: string; stateKey: string }[]) =>
  sql<{ type: string; state_key: string; state_key_nid: number }[]>`
    select w.type, w.state_key, k.state_key_nid
    from unnest(
      ${keys.map((each) => each.type)}::text[], ${keys.map((each) => each.stateKey)}::text[]
    ) w (type, state_key)
    join event_types t on t.type = w.type collate "C"
    join state_keys k on k.type_nid = t.type_nid and k.state_key = w.state_key collate "C"`

/** The JSON of events, and nothing else of them. */
export const jsonOf = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ event_nid: number; json: string }[]>`
    select j.event_nid, j.json
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join event_json j on j.shard = w.shard and j.event_nid = w.nid`

/** The same with the rooms' versions, for those who show them: whether a redaction of an event counts. */
export const shownJsonOf = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ event_nid: number; json: string; version: string; redacted: boolean }[]>`
    select e.event_nid, j.json, r.version, exists (
      select from redactions x
      where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id and x.applied
    ) as redacted
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join events e on e.shard = w.shard and e.event_nid = w.nid
    join event_json j on j.shard = w.shard and j.event_nid = w.nid
    join rooms r on r.shard = e.shard and r.room_nid = e.room_nid`

/** The IDs of events, and nothing else of them. */
export const eventIdsOf = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ event_nid: number; event_id: Uint8Array }[]>`
    select e.event_nid, e.event_id
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join events e on e.shard = w.shard and e.event_nid = w.nid`
