import type { Sql } from '#store/db.ts'

/** What a user may send who is not to be held to what everybody may; none a second: no limit. */
export type OwnLimit = { perSecond: number; burst: number }

/** Of the columns of a row that may not be there. */
export const ownLimit = (perSecond: number | null, burst: number | null): OwnLimit | undefined =>
  perSecond === null || burst === null ? undefined : { perSecond, burst }

export async function get(sql: Sql, userId: string): Promise<OwnLimit | undefined> {
  const [row] = await sql<{ per_second: number; burst: number }[]>`
    select per_second, burst from rate_limits where user_id = ${userId}`
  return row && { perSecond: row.per_second, burst: row.burst }
}

export async function put(sql: Sql, userId: string, { perSecond, burst }: OwnLimit): Promise<void> {
  await sql`
    insert into rate_limits (user_id, per_second, burst) values (${userId}, ${perSecond}, ${burst})
    on conflict (user_id) do update set per_second = excluded.per_second, burst = excluded.burst`
}

export async function remove(sql: Sql, userId: string): Promise<void> {
  await sql`delete from rate_limits where user_id = ${userId}`
}
