import type { Sql } from '#store/db.ts'

/** Which snapshots these build on, themselves included. */
export const layers = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ shard: number; snapshot_nid: number; base_nid: number | null }[]>`
    with recursive layer as (
      select s.shard, s.snapshot_nid, s.base_nid
      from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
      join snapshots s on s.shard = w.shard and s.snapshot_nid = w.nid
      union
      select s.shard, s.snapshot_nid, s.base_nid
      from layer l
      join snapshots s on s.shard = l.shard and s.snapshot_nid = l.base_nid
    )
    select * from layer`

/** What they are made of, and to what it is the difference. */
export const packed = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ snapshot_nid: number; base_nid: number | null; packed: Uint8Array }[]>`
    select s.snapshot_nid, s.base_nid, s.packed
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join snapshots s on s.shard = w.shard and s.snapshot_nid = w.nid`
