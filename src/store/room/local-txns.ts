import type { Sql } from '#store/db.ts'

/** The event that the same device sent before under this transaction ID, on the same path. */
export async function find(
  sql: Sql,
  shard: number,
  txn: { userId: string; deviceId: string; path: string; txnId: string },
): Promise<{ event_nid: number; event_id: Uint8Array; position: number | null } | undefined> {
  const [row] = await sql<{ event_nid: number; event_id: Uint8Array; position: number | null }[]>`
    select t.event_nid, e.event_id, e.position
    from local_txns t join events e on e.shard = t.shard and e.event_nid = t.event_nid
    where t.shard = ${shard} and t.user_id = ${txn.userId} and t.device_id = ${txn.deviceId}
      and t.path = ${txn.path} and t.txn_id = ${txn.txnId}`
  return row
}

/** Forgets at most `limit` of those sent before a time, in any of these shards; how many there were. */
export async function forget(
  sql: Sql,
  shards: readonly number[],
  before: number,
  limit: number,
): Promise<number> {
  const { count } = await sql`
    delete from local_txns where ctid = any(array(
      select ctid from local_txns
      where shard = any(${shards as number[]}::smallint[]) and sent_at < ${before}
      limit ${limit}))`
  return count
}
