import type { Sql } from '#store/db.ts'

/** Forgets answers that nobody will ask for any more. */
export async function removeOld(sql: Sql, before: number): Promise<void> {
  await sql`delete from inbound_txns where received_at < ${before}`
}

export type BacklogRow = { room_id: string; origin: string; weight: number }

/** The heaviest of very many. */
const maxPairs = 20_000

/**
 * How much of whom waits in the inbox, in which room: events, and one more for each 4 KiB of their texts.
 * Counted up to a bound; nothing if PostgreSQL's own statistics say
 * that fewer than `least` rows wait, for to count is to read the inbox.
 */
export const backlog = (sql: Sql, { least, most }: { least: number; most: number }) =>
  sql<BacklogRow[]>`
    select room_id, origin, sum(1 + octet_length(json) / 4096)::integer as weight
    from (
      select room_id, origin, json from inbox
      where pg_stat_get_live_tuples('inbox'::regclass) >= ${least} limit ${most}
    ) waiting
    group by room_id, origin
    order by weight desc limit ${maxPairs}`

export type InboundRoom = {
  room_id: string
  version: string
  /** `joining`: a join is on its way, and its room is not there yet. */
  kind: 'joined' | 'outside' | 'joining'
  /** Users of this server were joined, and none is any more. */
  is_left: boolean
  /** The current `m.room.server_acl`, if there is one. */
  acl_shard: number | null
  acl_nid: number | null
}

/** What intake must know of rooms; rooms that are unknown here are left out. */
export const rooms = (sql: Sql, roomIds: readonly string[], serverName: string) =>
  sql<InboundRoom[]>`
    select r.room_id, r.version, r.kind, coalesce(own.joined = 0, false) as is_left,
      s.shard as acl_shard, s.event_nid as acl_nid
    from rooms r
    left join room_servers own on own.shard = r.shard and own.room_nid = r.room_nid
      and own.generation = r.generation
      and own.server_nid = (select server_nid from servers where name = ${serverName})
    left join (
      select t.type_nid, k.state_key_nid from event_types t
      join state_keys k on k.type_nid = t.type_nid and k.state_key = ''
      where t.type = 'm.room.server_acl'
    ) acl on true
    left join current_state s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation
      and s.type_nid = acl.type_nid and s.state_key_nid = acl.state_key_nid
    where r.room_id = any(${roomIds as string[]})
    union all
    select j.room_id, j.version, 'joining', false, null, null
    from pending_joins j
    where j.room_id = any(${roomIds as string[]})`

/** The JSON of some events. */
export const eventJsons = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ event_nid: number; json: string }[]>`
    select j.event_nid, j.json
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join event_json j on j.shard = w.shard and j.event_nid = w.nid`
