import type { Sql } from '#store/db.ts'
import { pendingOf } from './auth-pending.ts'
import type { RoomKind } from './batch.ts'
import { StateMap } from './state-map.ts'

/** What the owner of a room reads when it takes the room into memory. */
export type RoomRow = {
  room_nid: number
  version: string
  kind: RoomKind
  generation: number
}

export async function room(sql: Sql, shard: number, roomId: string): Promise<RoomRow | undefined> {
  const [row] = await sql<RoomRow[]>`
    select room_nid, version, kind, generation from rooms
    where room_id = ${roomId} and shard = ${shard}`
  return row
}

/** Its current state, its extremities, its joined servers, the end of its live chain. */
export async function parts(sql: Sql, shard: number, { room_nid: nid, generation }: RoomRow) {
  const [state, extremities, servers, [live], missing, [auth], pending] = await Promise.all([
    currentState(sql, shard, nid, generation),
    sql<{ event_nid: number }[]>`
      select event_nid from extremities where shard = ${shard} and room_nid = ${nid}`,
    sql<{ server_nid: number; name: string; joined: number }[]>`
      select r.server_nid, s.name, r.joined
      from room_servers r join servers s on s.server_nid = r.server_nid
      where r.shard = ${shard} and r.room_nid = ${nid} and r.generation = ${generation}
        and r.joined > 0`,
    sql<{ chain: number; next: number; order_key: Uint8Array }[]>`
      select s.chain, s.order_key, coalesce((
        select max(chain_index) + 1 from events where shard = s.shard and chain = s.chain
      ), 0) as next
      from spans s
      where s.shard = ${shard} and s.room_nid = ${nid} and s.to_index is null
      order by s.order_key desc limit 1`,
    sql<{ event_id: Uint8Array; child_nid: number }[]>`
      select event_id, child_nid from missing_prevs
      where shard = ${shard} and room_nid = ${nid}`,
    sql<{ next: number }[]>`
      select coalesce(max(auth_order) + 1, 0) as next from auth_graph
      where shard = ${shard} and room_nid = ${nid}`,
    pendingOf(sql, shard, nid),
  ])
  return { state, extremities, servers, live, missing, nextAuthOrder: auth!.next, pending }
}

/** A whole state, in one value: a row for each of 50,000 members would take its time. */
async function currentState(
  sql: Sql,
  shard: number,
  roomNid: number,
  generation: number,
): Promise<StateMap> {
  const [row] = await sql<{ pairs: Buffer | null }[]>`
    select string_agg(int8send(state_key_nid) || int8send(event_nid), ''::bytea
      order by state_key_nid) as pairs
    from current_state
    where shard = ${shard} and room_nid = ${roomNid} and generation = ${generation}`
  const pairs = row?.pairs
  if (!pairs) return StateMap.empty
  const keys = new Float64Array(pairs.length / 16)
  const events = new Float64Array(keys.length)
  const numberAt = (at: number) =>
    pairs.readUInt32BE(at) * 0x1_0000_0000 + pairs.readUInt32BE(at + 4)
  for (let entry = 0; entry < keys.length; entry++) {
    keys[entry] = numberAt(16 * entry)
    events[entry] = numberAt(16 * entry + 8)
  }
  return StateMap.of(keys, events)
}
