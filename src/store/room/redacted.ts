import { byteaArray, type Sql } from '#store/db.ts'

/** Those of some events of a room, by their IDs, of which a redaction counts. */
export const among = (sql: Sql, shard: number, roomNid: number, eventIds: readonly Uint8Array[]) =>
  sql<{ target_id: Uint8Array }[]>`
    select distinct target_id from redactions
    where shard = ${shard} and room_nid = ${roomNid} and applied
      and target_id = any(${byteaArray(sql, eventIds)}::bytea[])`
