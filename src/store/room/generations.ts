import type { Sql } from '#store/db.ts'

/**
 * Takes away rows of state generations that a room has no use for: those before the one that readers
 * use, and, if no join is under way (`staging` is null), those staged after it by one that failed. At
 * most `limit` rows of each table; false once there are none left. Only the owner of the room calls it.
 */
export async function dropUnused(
  sql: Sql,
  shard: number,
  roomNid: number,
  staging: number | null,
  limit: number,
): Promise<boolean> {
  const drop = (table: 'current_state' | 'memberships' | 'room_servers') => sql`
    delete from ${sql(table)} where ctid = any(array(
      select t.ctid from ${sql(table)} t
      join rooms r on r.shard = t.shard and r.room_nid = t.room_nid
      where t.shard = ${shard} and t.room_nid = ${roomNid} and t.generation <> r.generation
        and t.generation is distinct from ${staging}::bigint
      limit ${limit}))`
  const dropped = await Promise.all([
    drop('current_state'),
    drop('memberships'),
    drop('room_servers'),
  ])
  return dropped.some(({ count }) => count === limit)
}
