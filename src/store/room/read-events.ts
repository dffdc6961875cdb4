import { type Sql, byteaArray } from '#store/db.ts'
import { eventFlags } from './batch.ts'
import { isUnseen } from './unseen.ts'

/** An event as it is stored, and what redacts it. */
export type EventRow = {
  shard: number
  event_nid: number
  room_nid: number
  event_id: Uint8Array
  chain: number | null
  chain_index: number | null
  position: number | null
  flags: number
  snapshot_nid: number | null
  json: string
  internal: string | null
  /** Of the first redaction that counts. */
  redaction_id: Uint8Array | null
  redaction_json: string | null
  /** The state event that this one replaced when it became current. */
  replaced_nid: number | null
}

const { rejected, softFailed } = eventFlags
/** Bits of `flags` of events that no timeline shows. */
export const unshown = rejected | softFailed

/** What an `EventRow` is made of, of events `e`. */
export const columns = (sql: Sql) => sql`
  e.shard, e.event_nid, e.room_nid, e.event_id, e.chain, e.chain_index, e.position, e.flags,
  e.snapshot_nid, j.json, j.internal, r.event_id as redaction_id, r.json as redaction_json,
  d.old_event_nid as replaced_nid`

/** Where the rest of it comes from. */
export const joins = (sql: Sql) => sql`
  join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
  left join lateral (
    select re.event_id, rj.json
    from redactions x
    join events re on re.shard = x.shard and re.event_nid = x.redaction_nid
    join event_json rj on rj.shard = x.shard and rj.event_nid = x.redaction_nid
    where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id and x.applied
    order by x.redaction_nid
    limit 1
  ) r on true
  left join state_deltas d on e.state_key_nid is not null
    and d.shard = e.shard and d.room_nid = e.room_nid and d.position = e.position
    and d.state_key_nid = e.state_key_nid and d.new_event_nid = e.event_nid`

/** Events by their numbers, in no order. */
export const byNids = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<EventRow[]>`
    select ${columns(sql)}
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join events e on e.shard = w.shard and e.event_nid = w.nid
    ${joins(sql)}`

/** Events by their IDs, in no order; those of imports that are not to be seen are not there. */
export const byIds = (sql: Sql, ids: readonly Uint8Array[]) =>
  sql<EventRow[]>`
    select ${columns(sql)}
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    ${joins(sql)}
    where not ${isUnseen(sql, sql`e`)} and i.event_id = any(${byteaArray(sql, ids)}::bytea[])`

export type AppliedRow = { redaction_nid: number }

/** Which of these redactions count, each given with its target. */
export const applied = (
  sql: Sql,
  wanted: readonly { shard: number; roomNid: number; target: Uint8Array; nid: number }[],
) =>
  sql<AppliedRow[]>`
    select x.redaction_nid
    from unnest(
      ${wanted.map((each) => each.shard)}::smallint[],
      ${wanted.map((each) => each.roomNid)}::bigint[],
      ${byteaArray(
        sql,
        wanted.map((each) => each.target),
      )}::bytea[],
      ${wanted.map((each) => each.nid)}::bigint[]
    ) w (shard, room_nid, target_id, redaction_nid)
    join redactions x using (shard, room_nid, target_id, redaction_nid)
    where x.applied`
