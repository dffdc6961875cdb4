import type { Sql } from '#store/db.ts'

/** The directory that an application service has of one network. */
export type Network = { appserviceId: string; networkId: string }

export async function add(
  sql: Sql,
  { appserviceId, networkId }: Network,
  roomId: string,
  publishedAt: number,
): Promise<void> {
  await sql`
    insert into network_rooms (appservice_id, network_id, room_id, published_at)
    values (${appserviceId}, ${networkId}, ${roomId}, ${publishedAt})
    on conflict do nothing`
}

export async function remove(
  sql: Sql,
  { appserviceId, networkId }: Network,
  roomId: string,
): Promise<void> {
  await sql`
    delete from network_rooms
    where appservice_id = ${appserviceId} and network_id = ${networkId} and room_id = ${roomId}`
}

/** Puts a room in the place of another, in all of them in which that one is. */
export async function move(sql: Sql, from: string, to: string): Promise<void> {
  await sql`
    update network_rooms n set room_id = ${to}
    where room_id = ${from} and not exists (
      select from network_rooms o
      where o.appservice_id = n.appservice_id and o.network_id = n.network_id
        and o.room_id = ${to})`
}

/** Takes a room out of all of them. */
export async function removeAll(sql: Sql, roomId: string): Promise<void> {
  await sql`delete from network_rooms where room_id = ${roomId}`
}
