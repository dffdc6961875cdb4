import type { Sql } from '#store/db.ts'

/** Drops at most so many rows of what is indexed of a room that was removed; whether there may be more. */
export async function dropRoom(
  sql: Sql,
  { shard, roomNid }: { shard: number; roomNid: number },
  limit: number,
): Promise<boolean> {
  const relations = await sql`
    delete from relations where ctid = any(array(
      select ctid from relations where shard = ${shard} and room_nid = ${roomNid} limit ${limit}))`
  // Words have no index by room; events have, as long as they are there.
  const words = await sql`
    delete from search_words where ctid = any(array(
      select w.ctid from events e
      join search_words w on w.shard = e.shard and w.event_nid = e.event_nid
      where e.shard = ${shard} and e.room_nid = ${roomNid} and e.chain is not null
      limit ${limit}))`
  return relations.count === limit || words.count === limit
}
