import type { Sql } from '#store/db.ts'

/** What an address is to be used for once it is proved; good for nothing else. */
export type Purpose = 'register' | 'add' | 'password'

export type Validation = {
  sid: string
  medium: string
  address: string
  purpose: Purpose
  next_link: string | null
  validated_at: number | null
  send_attempt: number
}

type New = {
  sid: string
  address: string
  purpose: Purpose
  clientSecret: string
  sendAttempt: number
  tokenHash: Uint8Array | null
  nextLink: string | null
  expiresAt: number
}

/**
 * Begins to validate an e-mail address, or begins anew with a later attempt. Answers the session, and
 * whether something is to be sent: not for an attempt that was seen before.
 */
export async function begin(sql: Sql, row: New): Promise<{ sid: string; isNew: boolean }> {
  const [begun] = await sql<{ sid: string }[]>`
    insert into threepid_validations as v (
      sid, medium, address, purpose, client_secret, send_attempt, token_hash, next_link, expires_at
    ) values (
      ${row.sid}, 'email', ${row.address}, ${row.purpose}, ${row.clientSecret},
      ${row.sendAttempt}, ${row.tokenHash}, ${row.nextLink}, ${row.expiresAt}
    )
    on conflict (purpose, medium, address, client_secret) do update
      set send_attempt = excluded.send_attempt, token_hash = excluded.token_hash, attempts = 0,
        next_link = excluded.next_link, expires_at = excluded.expires_at, sid = excluded.sid,
        validated_at = null
      where v.send_attempt < excluded.send_attempt
    returning sid`
  if (begun) return { sid: begun.sid, isNew: true }
  const [before] = await sql<{ sid: string }[]>`
    select sid from threepid_validations
    where purpose = ${row.purpose} and medium = 'email' and address = ${row.address}
      and client_secret = ${row.clientSecret}`
  return { sid: before?.sid ?? row.sid, isNew: false }
}

/** A session that is not over, by both of its secrets. */
export async function find(
  sql: Sql,
  sid: string,
  clientSecret: string,
  now: number,
): Promise<Validation | undefined> {
  const [row] = await sql<Validation[]>`
    select sid, medium, address, purpose, next_link, validated_at, send_attempt
    from threepid_validations
    where sid = ${sid} and client_secret = ${clientSecret} and expires_at > ${now}`
  return row
}

/** Takes a token; after too many wrong ones none is right. Answers whether it was. */
export async function submit(
  sql: Sql,
  {
    sid,
    tokenHash,
    now,
    maxWrong,
  }: { sid: string; tokenHash: Uint8Array; now: number; maxWrong: number },
): Promise<boolean> {
  const [row] = await sql<{ right: boolean }[]>`
    update threepid_validations set
      validated_at = case
        when token_hash = ${tokenHash} then coalesce(validated_at, ${now}) else validated_at end,
      attempts = attempts + case when token_hash = ${tokenHash} then 0 else 1 end
    where sid = ${sid} and expires_at > ${now} and attempts < ${maxWrong}
    returning coalesce(token_hash = ${tokenHash}, false) as right`
  return row?.right ?? false
}

/** Uses a session up; answers the address if it was validated, once. */
export async function take(
  sql: Sql,
  {
    sid,
    clientSecret,
    purpose,
    now,
  }: { sid: string; clientSecret: string; purpose: Purpose; now: number },
): Promise<Validation | undefined> {
  const [row] = await sql<Validation[]>`
    delete from threepid_validations
    where sid = ${sid} and client_secret = ${clientSecret} and purpose = ${purpose}
      and expires_at > ${now} and validated_at is not null
    returning sid, medium, address, purpose, next_link, validated_at, send_attempt`
  return row
}

/** Drops some that are over; answers how many. */
export async function dropExpired(sql: Sql, now: number, limit: number): Promise<number> {
  const { count } = await sql`
    delete from threepid_validations where sid in (
      select sid from threepid_validations where expires_at <= ${now} limit ${limit}
    )`
  return count
}
