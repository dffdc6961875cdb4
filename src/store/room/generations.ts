import type { Sql } from '#store/db.ts'

/**
 * Rows of state generations that no reader uses: those before the one that their room has, and those that
 * a join staged which failed. Only the owner of a room takes them away.
 */

/**
 * Takes away rows of generations that a room does not use, numbered below `before`: what is staged after
 * that is left alone. At most `limit` rows of each table; false once there are none left.
 */
export async function dropUnused(
  sql: Sql,
  { shard, roomNid, before }: { shard: number; roomNid: number; before: number },
  limit: number,
): Promise<boolean> {
  const drop = (table: 'current_state' | 'memberships' | 'room_servers') => sql`
    delete from ${sql(table)} where ctid = any(array(
      select t.ctid from ${sql(table)} t
      join rooms r on r.shard = t.shard and r.room_nid = t.room_nid
      where t.shard = ${shard} and t.room_nid = ${roomNid} and t.generation <> r.generation
        and t.generation < ${before}
      limit ${limit}))`
  const dropped = await Promise.all([
    drop('current_state'),
    drop('memberships'),
    drop('room_servers'),
  ])
  return dropped.some(({ count }) => count === limit)
}

export type RoomCursor = { shard: number; roomNid: number }

export type Unused = {
  rooms: { shard: number; roomId: string; roomNid: number }[]
  next?: RoomCursor
}

/** Which of the next `limit` rooms of some shards have such rows, and with which room to go on. */
export async function listUnused(
  sql: Sql,
  shards: readonly number[],
  after: RoomCursor,
  limit: number,
): Promise<Unused> {
  // Each side of the generation in use is a range of the primary key.
  const has = (table: 'current_state' | 'memberships' | 'room_servers') => sql`
    exists (
      select from ${sql(table)} t
      where t.shard = p.shard and t.room_nid = p.room_nid and t.generation < p.generation)
    or exists (
      select from ${sql(table)} t
      where t.shard = p.shard and t.room_nid = p.room_nid and t.generation > p.generation)`
  const rows = await sql<{ shard: number; room_nid: number; room_id: string; unused: boolean }[]>`
    with p as materialized (
      select shard, room_nid, room_id, generation from rooms
      where shard = any(${shards as number[]}::smallint[])
        and (shard, room_nid) > (${after.shard}::smallint, ${after.roomNid}::bigint)
      order by shard, room_nid limit ${limit}
    )
    select shard, room_nid, room_id,
      (${has('current_state')} or ${has('memberships')} or ${has('room_servers')}) as unused
    from p order by shard, room_nid`
  const last = rows.length < limit ? undefined : rows.at(-1)
  return {
    rooms: rows
      .filter(({ unused }) => unused)
      .map(({ shard, room_nid: roomNid, room_id: roomId }) => ({ shard, roomNid, roomId })),
    ...(last && { next: { shard: last.shard, roomNid: last.room_nid } }),
  }
}
