import type { Sql } from '#store/db.ts'

/** Other servers as administrators list them. */

export const destinationOrders = [
  'destination',
  'retry_last_ts',
  'retry_interval',
  'failure_ts',
  'last_successful_stream_ordering',
] as const
export type DestinationOrder = (typeof destinationOrders)[number]

export type ListedDestination = {
  destination: string
  retry_last_ts: number
  retry_interval: number
  failure_ts: number | null
  /** Not known: what was sent is kept by room. */
  last_successful_stream_ordering: null
}

const all = (sql: Sql, part: string | undefined) => {
  const pattern = part === undefined ? null : `%${part.replace(/[\\%_]/g, '\\$&')}%`
  return sql`
    select server as destination, coalesce(failing_since, 0) as retry_last_ts,
      case when failing_since is null then 0 else greatest(retry_at - failing_since, 0) end
        as retry_interval,
      failing_since as failure_ts, null::bigint as last_successful_stream_ordering
    from destinations
    where ${pattern}::text is null or server ilike ${pattern}`
}

export const page = (
  sql: Sql,
  part: string | undefined,
  wanted: { order: DestinationOrder; backwards: boolean; from: number; limit: number },
) =>
  sql<ListedDestination[]>`
    select * from (${all(sql, part)}) d
    order by ${sql(wanted.order)} ${wanted.backwards ? sql`desc` : sql`asc`} nulls last, destination
    limit ${wanted.limit} offset ${wanted.from}`

export async function count(sql: Sql, part: string | undefined): Promise<number> {
  const [row] = await sql<{ total: number }[]>`
    select count(*)::int as total from (${all(sql, part)}) d`
  return row!.total
}

export async function one(sql: Sql, server: string): Promise<ListedDestination | undefined> {
  const [row] = await sql<ListedDestination[]>`
    select * from (${all(sql, undefined)}) d where destination = ${server}`
  return row
}

/** The rooms that a server is in with us, and up to which position events wait for it. */
export const roomsOf = (
  sql: Sql,
  server: string,
  { backwards, from, limit }: { backwards: boolean; from: number; limit: number },
) =>
  sql<{ room_id: string; stream_ordering: number | null }[]>`
    select r.room_id, o.last_position as stream_ordering
    from servers v
    join room_servers s on s.server_nid = v.server_nid and s.joined > 0
    join rooms r on r.shard = s.shard and r.room_nid = s.room_nid and r.generation = s.generation
      and r.kind = 'joined'
    left join outbox_rooms o on o.server = v.name and o.shard = r.shard and o.room_nid = r.room_nid
    where v.name = ${server}
    order by r.room_id ${backwards ? sql`desc` : sql`asc`}
    limit ${limit} offset ${from}`

export async function countRooms(sql: Sql, server: string): Promise<number> {
  const [row] = await sql<{ total: number }[]>`
    select count(*)::int as total
    from servers v
    join room_servers s on s.server_nid = v.server_nid and s.joined > 0
    join rooms r on r.shard = s.shard and r.room_nid = s.room_nid and r.generation = s.generation
      and r.kind = 'joined'
    where v.name = ${server}`
  return row!.total
}
