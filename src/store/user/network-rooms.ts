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

/** Takes a room out of all of them. */
export async function removeAll(sql: Sql, roomId: string): Promise<void> {
  await sql`delete from network_rooms where room_id = ${roomId}`
}
