import type { Sql } from '#store/db.ts'

export type SigningKeyRow = {
  key_id: string
  seed: Uint8Array
  created_ts: number
  /** Null: it signs. */
  expired_ts: number | null
}

/** All keys that this server ever had, newest first. */
export function list(sql: Sql): PromiseLike<SigningKeyRow[]> {
  return sql<SigningKeyRow[]>`
    select key_id, seed, created_ts, expired_ts from signing_keys
    order by expired_ts is not null, created_ts desc, key_id`
}

/** Adds a key, unless there is one of its ID. */
export async function add(
  sql: Sql,
  keyId: string,
  seed: Uint8Array,
  createdTs: number,
): Promise<void> {
  await sql`
    insert into signing_keys (key_id, seed, created_ts)
    values (${keyId}, ${Buffer.from(seed)}, ${createdTs})
    on conflict (key_id) do nothing`
}

/** Retires every key that signs but one. */
export async function expireOthers(sql: Sql, keyId: string, expiredTs: number): Promise<void> {
  await sql`
    update signing_keys set expired_ts = ${expiredTs}
    where key_id <> ${keyId} and expired_ts is null`
}

/** Waits for others who make the first key, or a new one, until the transaction ends. */
export async function lock(sql: Sql): Promise<void> {
  await sql`lock table signing_keys in share row exclusive mode`
}
