import { type Sql, booleanArray } from '#store/db.ts'

export type BackedUpKey = {
  shard: number
  userId: string
  version: number
  roomId: string
  sessionId: string
  isVerified: boolean
  firstMessageIndex: number
  forwardedCount: number
  sessionData: string
}

/**
 * Adds keys, each named once; of one that is there already the better is kept. Answers what changed.
 *
 * Spec: client-server-api/#server-side-key-backups
 */
export const put = (sql: Sql, rows: readonly BackedUpKey[]) =>
  sql<{ user_id: string; inserted: boolean }[]>`
    insert into backed_up_keys as k (shard, user_id, version, room_id, session_id, is_verified,
      first_message_index, forwarded_count, session_data)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.version)}::bigint[],
      ${rows.map((row) => row.roomId)}::text[],
      ${rows.map((row) => row.sessionId)}::text[],
      ${booleanArray(
        sql,
        rows.map((row) => row.isVerified),
      )}::boolean[],
      ${rows.map((row) => row.firstMessageIndex)}::bigint[],
      ${rows.map((row) => row.forwardedCount)}::bigint[],
      ${rows.map((row) => row.sessionData)}::text[]
    )
    on conflict (shard, user_id, version, room_id, session_id) do update set
      is_verified = excluded.is_verified, first_message_index = excluded.first_message_index,
      forwarded_count = excluded.forwarded_count, session_data = excluded.session_data
    where (not excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
      < (not k.is_verified, k.first_message_index, k.forwarded_count)
    returning user_id, xmax = 0 as inserted`

/** Which keys of a backup: all, those of a room, or one. */
export type Selection = {
  shard: number
  userId: string
  version: number
  roomId: string | undefined
  sessionId: string | undefined
}

const selected = (sql: Sql, { shard, userId, version, roomId, sessionId }: Selection) => sql`
  shard = ${shard} and user_id = ${userId} and version = ${version}
  ${roomId === undefined ? sql`` : sql`and room_id = ${roomId}`}
  ${sessionId === undefined ? sql`` : sql`and session_id = ${sessionId}`}`

/** Removes keys; answers how many. */
export async function remove(sql: Sql, selection: Selection): Promise<number> {
  const { count } = await sql`delete from backed_up_keys where ${selected(sql, selection)}`
  return count
}

export type StoredKey = {
  room_id: string
  session_id: string
  is_verified: boolean
  first_message_index: number
  forwarded_count: number
  session_data: string
}

/** Keys of a backup in the order of their rooms and sessions, after one of them. */
export const list = (
  sql: Sql,
  selection: Selection,
  after: { roomId: string; sessionId: string },
  limit: number,
) =>
  sql<StoredKey[]>`
    select room_id, session_id, is_verified, first_message_index, forwarded_count, session_data
    from backed_up_keys
    where ${selected(sql, selection)} and (room_id, session_id) > (${after.roomId}, ${after.sessionId})
    order by room_id, session_id
    limit ${limit}`

/** Drops some keys of backups that are ended; answers how many. */
export async function dropEnded(sql: Sql, limit: number): Promise<number> {
  const { count } = await sql`
    delete from backed_up_keys where ctid = any(array(
      select k.ctid from key_backups b
      join backed_up_keys k
        on k.shard = b.shard and k.user_id = b.user_id and k.version = b.version
      where b.deleted
      limit ${limit}))`
  return count
}
