import { type Sql, byteaArray } from '#store/db.ts'

/** What must relate to an event; no NUL is in a text, since no row has one. */
export type RelatedWanted = {
  relTypes: readonly string[] | undefined
  senders: readonly string[] | undefined
}

/**
 * The condition that something that was there by a position relates to an event. The expressions name
 * columns of the statement in which it stands.
 */
export const isRelated = (
  sql: Sql,
  { relTypes, senders }: RelatedWanted,
  of: { shard: Fragment; room: Fragment; eventId: Fragment; until: Fragment },
) => sql`
  exists (
    select from relations found
    where found.shard = ${of.shard} and found.room_nid = ${of.room} and found.target_id = ${of.eventId}
      and coalesce(found.position, 0) <= ${of.until} and not ${isUndone(sql, sql`found`)}
      ${relTypes ? sql`and found.rel_type = any(${relTypes as string[]}::text[])` : sql``}
      ${
        senders
          ? sql`and found.sender_nid in (
              select user_nid from user_ids where user_id = any(${senders as string[]}::text[]))`
          : sql``
      })`

/** A relation that came with an import, and went with it. */
export const isUndone = (sql: Sql, r: ReturnType<Sql>) => sql`
  exists (
    select from import_chains c
    where c.shard = ${r}.shard and c.chain = ${r}.chain and c.hidden_at is not null)`

export type Fragment = ReturnType<Sql>

export type Related = {
  shard: number
  roomNid: number
  nid: number
  eventId: Uint8Array
  /** Relations behind this position do not count. */
  until: number
}

/** Those of some events to which something relates. */
export async function related(
  sql: Sql,
  events: readonly Related[],
  wanted: RelatedWanted,
): Promise<Set<number>> {
  const rows = await sql<{ event_nid: number }[]>`
    select w.event_nid
    from unnest(
      ${events.map((each) => each.shard)}::smallint[],
      ${events.map((each) => each.roomNid)}::bigint[],
      ${events.map((each) => each.nid)}::bigint[],
      ${byteaArray(
        sql,
        events.map((each) => each.eventId),
      )}::bytea[],
      ${events.map((each) => each.until)}::bigint[]
    ) w (shard, room_nid, event_nid, event_id, until)
    where ${isRelated(sql, wanted, {
      shard: sql`w.shard`,
      room: sql`w.room_nid`,
      eventId: sql`w.event_id`,
      until: sql`w.until`,
    })}`
  return new Set(rows.map((row) => row.event_nid))
}
