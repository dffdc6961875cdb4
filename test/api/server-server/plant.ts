import { membershipOf } from '#core/content/m.room.member.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { shardOf } from '#core/shard.ts'
import type { Snapshots } from '#engine/read/snapshots.ts'
import type { Pool, Sql } from '#store/db.ts'
import { Interner, serverOf } from '#store/room/intern.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { MadeUpRoom } from '#test/builders.ts'

/** States before events, kept by whoever planted the events. */
export class PlantedSnapshots implements Snapshots {
  readonly states = new Map<number, ReadonlyMap<number, number>>()

  async lookup(_sql: Sql, snapshots: readonly number[], keys: readonly number[]) {
    const found = new Map<number, Map<number, number>>()
    for (const nid of snapshots) {
      const state = this.states.get(nid)
      if (!state) continue
      found.set(nid, new Map([...state].filter(([key]) => keys.includes(key))))
    }
    return found
  }

  async whole(_sql: Sql, snapshot: number) {
    return [...(this.states.get(snapshot)?.values() ?? [])]
  }
}

/** Forgets what was planted, and what is in other tables. */
export async function uproot(sql: Sql, ...others: string[]): Promise<void> {
  const planted = ['rooms', 'events', 'event_ids', 'event_json', 'current_state', 'memberships']
  await sql`truncate ${sql([...planted, 'room_servers', ...others])}`
}

let next = 1
/** A room that is planted again stays the same room. */
const roomNids = new Map<string, number>()

/**
 * Writes a made-up room into the tables, as if every event had come in its order; flags by event ID.
 * Answers the numbers of the events.
 */
export async function plant(
  sql: Pool,
  snapshots: PlantedSnapshots,
  room: MadeUpRoom,
  { flags = new Map<string, number>(), kind = 'joined' } = {},
): Promise<Map<string, number>> {
  const shard = shardOf(room.roomId)
  const nidOf = new Map<string, number>()
  const nid = () => next++ * 64 + shard
  const roomNid = roomNids.get(room.roomId) ?? nid()
  roomNids.set(room.roomId, roomNid)
  const events = [...room.events.values()]
  const names = await new Interner(sql).intern({
    types: events.map(({ event }) => event.type),
    stateKeys: events.flatMap(({ event }) =>
      event.stateKey === undefined ? [] : [[event.type, event.stateKey] as const],
    ),
    users: events.flatMap(({ event }) =>
      event.type === 'm.room.member' ? [event.sender, event.stateKey!] : [event.sender],
    ),
  })
  await sql`
    insert into rooms (shard, room_nid, room_id, version, kind)
    values (${shard}, ${roomNid}, ${room.roomId}, ${room.version.id}, ${kind})`

  const state = new Map<number, number>()
  const members = new Map<string, { membership: string; sender: string; nid: number }>()
  for (const [index, { event, text }] of events.entries()) {
    const own = nid()
    nidOf.set(event.eventId, own)
    const snapshot = nid()
    snapshots.states.set(snapshot, new Map(state))
    const key = event.stateKey === undefined ? null : names.stateKey(event.type, event.stateKey)
    const known = (ids: readonly string[]) => ids.flatMap((id) => nidOf.get(id) ?? [])
    await sql`
      insert into event_ids (event_id, shard, event_nid)
      values (${Buffer.from(packEventId(event.eventId))}, ${shard}, ${own})`
    await sql`
      insert into events (shard, event_nid, room_nid, event_id, type_nid, state_key_nid, sender_nid,
        depth, origin_server_ts, position, snapshot_nid, flags, prev_nids, auth_nids)
      values (${shard}, ${own}, ${roomNid}, ${Buffer.from(packEventId(event.eventId))},
        ${names.type(event.type)}, ${key}, ${names.user(event.sender)}, ${event.depth},
        ${event.originServerTs}, ${index + 1}, ${snapshot}, ${flags.get(event.eventId) ?? 0},
        ${known(event.prevEvents)}::bigint[], ${known(event.authEvents)}::bigint[])`
    await sql`insert into event_json (shard, event_nid, json) values (${shard}, ${own}, ${text})`
    if (key === null || (flags.get(event.eventId) ?? 0) & 1) continue
    state.set(key, own)
    if (event.type === 'm.room.member')
      members.set(event.stateKey!, {
        membership: membershipOf(event.content)!,
        sender: event.sender,
        nid: own,
      })
  }
  await plantState(sql, { shard, roomNid }, events, state, names)
  await plantMembers(sql, { shard, roomNid }, members, names)
  return nidOf
}

type Place = { shard: number; roomNid: number }
type Names = Awaited<ReturnType<Interner['intern']>>

async function plantState(
  sql: Pool,
  { shard, roomNid }: Place,
  events: readonly { event: RoomEvent }[],
  state: ReadonlyMap<number, number>,
  names: Names,
): Promise<void> {
  for (const { event } of events) {
    if (event.stateKey === undefined) continue
    const key = names.stateKey(event.type, event.stateKey)
    const nid = state.get(key)
    if (nid === undefined) continue
    await sql`
      insert into current_state (shard, room_nid, type_nid, state_key_nid, event_nid)
      values (${shard}, ${roomNid}, ${names.type(event.type)}, ${key}, ${nid})
      on conflict do nothing`
  }
}

async function plantMembers(
  sql: Pool,
  { shard, roomNid }: Place,
  members: ReadonlyMap<string, { membership: string; sender: string; nid: number }>,
  names: Names,
): Promise<void> {
  const joined = new Map<string, number>()
  for (const [userId, { membership, sender, nid }] of members) {
    await sql`
      insert into memberships (shard, room_nid, user_nid, membership, event_nid, sender_nid, position)
      values (${shard}, ${roomNid}, ${names.user(userId)}, ${membership}, ${nid},
        ${names.user(sender)}, 1)`
    if (membership !== 'join') continue
    const server = serverOf(userId)
    joined.set(server, (joined.get(server) ?? 0) + 1)
  }
  const all = [...joined.values()].reduce((sum, count) => sum + count, 0)
  await sql`
    update rooms set joined_members = ${all} where shard = ${shard} and room_nid = ${roomNid}`
  for (const [server, count] of joined)
    await sql`
      insert into room_servers (shard, room_nid, server_nid, joined)
      select ${shard}, ${roomNid}, server_nid, ${count} from servers where name = ${server}`
}
