import type { Sql } from '#store/db.ts'

/** Keeps a filter; the same one again changes nothing. */
export async function add(
  sql: Sql,
  userId: string,
  filterId: string,
  definition: string,
): Promise<void> {
  await sql`
    insert into filters (user_id, filter_id, definition)
    values (${userId}, ${filterId}, ${definition})
    on conflict (user_id, filter_id) do nothing`
}

/** The definition as JSON text. */
export async function get(sql: Sql, userId: string, filterId: string): Promise<string | undefined> {
  const [row] = await sql<{ definition: string }[]>`
    select definition from filters where user_id = ${userId} and filter_id = ${filterId}`
  return row?.definition
}
