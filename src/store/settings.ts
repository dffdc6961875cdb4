import type { Sql } from '#store/db.ts'
import { StartupError } from '#store/startup-error.ts'

/**
 * Notes the server's name when the database is new; later it must be the same, because every event,
 * user and room in the database belongs to that name. Answers whether the database was new.
 */
export async function claimServerName(sql: Sql, serverName: string): Promise<boolean> {
  const [claimed] = await sql`
    insert into settings (name, value) values ('server_name', ${serverName})
    on conflict (name) do nothing returning name`
  if (claimed) return true
  const [row] = await sql<{ value: string }[]>`
    select value from settings where name = 'server_name'`
  if (row?.value !== serverName)
    throw new StartupError(
      `The database belongs to the server ${row?.value}, and server_name is ${serverName}. The name of a server cannot change: set server_name back, or name another database.`,
    )
  return false
}

export async function put(sql: Sql, name: string, value: string): Promise<void> {
  await sql`
    insert into settings (name, value) values (${name}, ${value})
    on conflict (name) do update set value = excluded.value`
}

/** Reads a setting and removes it. */
export async function take(sql: Sql, name: string): Promise<string | undefined> {
  const [row] = await sql<{ value: string }[]>`
    delete from settings where name = ${name} returning value`
  return row?.value
}

/** How many shards rooms and users are dealt to: fixed when the database was made. */
export async function shardCount(sql: Sql): Promise<number> {
  const [row] = await sql<{ value: string }[]>`select value from settings where name = 'shards'`
  return Number(row!.value)
}
