import type { Sql } from '#store/db.ts'

/**
 * The rooms that take most of the database, by its own statistics: tables are not read for it. The nids of
 * rooms are the most common values of a column, with the part of the table that each takes; the texts
 * of events count by the events. Nothing is known of rooms that are not among these.
 */
export const largest = (sql: Sql, limit: number) =>
  sql<{ room_id: string; bytes: number }[]>`
    with tables as (
      select s.tablename,
        pg_total_relation_size(c.oid)
          + case when s.tablename = 'events' then pg_total_relation_size('event_json') else 0 end
          as bytes,
        s.most_common_vals::text::bigint[] as nids, s.most_common_freqs as parts
      from pg_stats s
      join pg_class c on c.relname = s.tablename
      join pg_namespace n on n.oid = c.relnamespace and n.nspname = s.schemaname
      where s.schemaname = current_schema() and s.attname = 'room_nid'
        and s.most_common_vals is not null
        and s.tablename in ('events', 'current_state', 'state_deltas', 'snapshots', 'auth_graph',
          'memberships', 'relations', 'search_words')
    ), parts as (
      select v.nid, sum(t.bytes * v.part) as bytes
      from tables t
      cross join lateral unnest(t.nids, t.parts) v (nid, part)
      group by v.nid
    )
    select r.room_id, p.bytes::bigint as bytes
    from parts p
    -- A nid names its shard.
    join rooms r on r.room_nid = p.nid and r.shard = p.nid % (select count(*) from room_shards)
    order by p.bytes desc, r.room_id
    limit ${limit}`
