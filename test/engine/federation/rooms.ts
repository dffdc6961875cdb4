import type { Sql } from '#store/db.ts'

/** Rows of rooms as a room worker would commit them: just what the outbox reads. */

export const testShard = 7

/** Numbers for servers by their names. */
export async function internServers(
  sql: Sql,
  names: readonly string[],
): Promise<Map<string, number>> {
  await sql`
    insert into servers (name) select unnest(${names as string[]}::text[])
    on conflict do nothing`
  const rows = await sql<{ name: string; server_nid: number }[]>`
    select name, server_nid from servers where name = any(${names as string[]})`
  return new Map(rows.map((row) => [row.name, row.server_nid]))
}

/** A set of servers; with a base it is written as what it adds and removes. */
export async function makeSet(
  sql: Sql,
  servers: readonly number[],
  base: number | null = null,
): Promise<number> {
  const [row] = await sql<{ set_nid: number }[]>`
    insert into server_sets (hash, base_nid, height, servers)
    values (${Buffer.from(crypto.randomUUID())}, ${base}, ${base === null ? 0 : 1},
      ${servers as number[]}::integer[])
    returning set_nid`
  return row!.set_nid
}

export type TestEvent = {
  roomNid: number
  position: number
  destinationSet: number | null
  flags?: number
  json?: string
  /** A membership of a user, who has that number of a server, and the one before. */
  member?: { user: string; server: number; before: string | null; after: string }
}

/** Commits events at positions of the test shard. */
export async function commitEvents(sql: Sql, events: readonly TestEvent[]): Promise<void> {
  for (const event of events) {
    const nid = event.roomNid * 1_000_000 + event.position
    const stateKeyNid = event.member ? await internMember(sql, event.member) : null
    await sql`
      insert into events (shard, event_nid, room_nid, event_id, type_nid, state_key_nid, sender_nid,
        depth, origin_server_ts, position, destination_set, flags)
      values (${testShard}, ${nid}, ${event.roomNid}, ${Buffer.from(`$${nid}`)}, 1, ${stateKeyNid}, 1,
        1, 1, ${event.position}, ${event.destinationSet}, ${event.flags ?? 0})`
    await sql`
      insert into event_json (shard, event_nid, json)
      values (${testShard}, ${nid}, ${event.json ?? `{"n":${event.position},"r":${event.roomNid}}`})`
    if (event.member)
      await sql`
        insert into state_deltas (shard, position, room_nid, state_key_nid, new_event_nid,
          type_nid, old_membership, new_membership)
        values (${testShard}, ${event.position}, ${event.roomNid}, ${stateKeyNid}, ${nid}, 1,
          ${event.member.before}, ${event.member.after})`
  }
  const last = Math.max(...events.map(({ position }) => position))
  await sql`update room_shards set position = ${last} where shard = ${testShard}`
}

async function internMember(
  sql: Sql,
  { user, server }: { user: string; server: number },
): Promise<number> {
  await sql`insert into event_types (type) values ('m.room.member') on conflict do nothing`
  await sql`
    insert into user_ids (user_id, server_nid) values (${user}, ${server}) on conflict do nothing`
  const [row] = await sql<{ state_key_nid: number }[]>`
    insert into state_keys (type_nid, state_key)
    select type_nid, ${user} from event_types where type = 'm.room.member'
    on conflict (type_nid, state_key) do update set state_key = excluded.state_key
    returning state_key_nid`
  return row!.state_key_nid
}

/** Empties what tests of the outbox fill. */
export async function clearRooms(sql: Sql): Promise<void> {
  await sql`
    truncate rooms, redactions, events, event_json, state_deltas, server_sets, destinations, outbox_events,
      outbox_rooms, outbox_edus, outbox_txns`
  await sql`update outbox_cursors set position = 0`
  await sql`update room_shards set position = 0`
}
