import type { Sql } from '#store/db.ts'

/** Redactions of a room whose target is not here, each with its target. */
export const waiting = (sql: Sql, shard: number, roomNid: number) =>
  sql<{ target_id: Uint8Array; redaction_nid: number }[]>`
    select target_id, redaction_nid from redactions
    where shard = ${shard} and room_nid = ${roomNid} and not applied
    order by redaction_nid`
