import type { Sql } from '#store/db.ts'

/**
 * Puts EDUs (JSON text of the whole EDU) in the queues of servers, in this order. For the owners of
 * user shards, in the commit that makes them; the federation worker is told by an `outbox` signal.
 */
export async function add(
  sql: Sql,
  rows: readonly { server: string; json: string }[],
): Promise<void> {
  await sql`
    insert into outbox_edus (server, json)
    select server, json from unnest(
      ${rows.map((row) => row.server)}::text[],
      ${rows.map((row) => row.json)}::text[]
    ) with ordinality as t (server, json, place)
    order by place`
}

/**
 * Puts EDUs in the queues of all servers that share a room with a local user, in this order; answers
 * the servers. Written once for all of them: a list of servers may be long.
 */
export async function addForSharing(
  sql: Sql,
  rows: readonly { userId: string; json: string }[],
): Promise<string[]> {
  const added = await sql<{ server: string }[]>`
    with edus as materialized (
      select * from unnest(
        ${rows.map((row) => row.userId)}::text[],
        ${rows.map((row) => row.json)}::text[]
      ) with ordinality as t (user_id, json, place)
    ),
    sharing as materialized (
      select distinct u.user_id, v.name as server
      from user_ids u
      join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
      join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
        and s.generation = r.generation and s.joined > 0 and s.server_nid <> u.server_nid
      join servers v on v.server_nid = s.server_nid
      where u.user_id in (select user_id from edus)
    ),
    added as (
      insert into outbox_edus (server, json)
      select s.server, e.json from edus e join sharing s on s.user_id = e.user_id
      order by e.place
      returning server
    )
    select distinct server from added`
  return added.map(({ server }) => server)
}

/**
 * The same, for the servers in one room that share no other with the user: they have got no updates
 * before.
 */
export async function addForNew(
  sql: Sql,
  rows: readonly { userId: string; roomId: string; json: string }[],
): Promise<string[]> {
  const added = await sql<{ server: string }[]>`
    with added as (
      insert into outbox_edus (server, json)
      select v.name, w.json
      from unnest(
        ${rows.map((row) => row.userId)}::text[],
        ${rows.map((row) => row.roomId)}::text[],
        ${rows.map((row) => row.json)}::text[]
      ) w (user_id, room_id, json)
      join user_ids u on u.user_id = w.user_id
      join rooms r on r.room_id = w.room_id
      join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
        and s.generation = r.generation and s.joined > 0 and s.server_nid <> u.server_nid
      join servers v on v.server_nid = s.server_nid
      where not exists (
        select from memberships m
        join rooms o on o.shard = m.shard and o.room_nid = m.room_nid
          and o.generation = m.generation and o.room_id <> w.room_id
        join room_servers p on p.shard = o.shard and p.room_nid = o.room_nid
          and p.generation = o.generation and p.server_nid = s.server_nid and p.joined > 0
        where m.user_nid = u.user_nid and m.membership = 'join'
      )
      returning server
    )
    select distinct server from added`
  return added.map(({ server }) => server)
}

/** The first EDUs in a server's queue. */
export const first = (sql: Sql, server: string, max: number) =>
  sql<{ edu_id: number; json: string }[]>`
    select edu_id, json from outbox_edus
    where server = ${server}
    order by edu_id
    limit ${max}`
