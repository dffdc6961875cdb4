import type { RoomPart } from './batch.ts'
import { byteaText } from './event-id.ts'
import * as fold from './fold.ts'
import { json } from './statement.ts'

/** What a commit writes in which state changes, as parts of one statement. Rows come as JSON. */
export const stateTypes = {
  snapshots: json,
  deltas: json,
  state: json,
  members: json,
  servers: json,
  rooms: json,
  auth: json,
} as const

export type StateRows = Record<keyof typeof stateTypes, object[]>

export const stateParts = `
  new_snapshots as (
    insert into snapshots (
      shard, room_nid, snapshot_nid, base_nid, height, entries, hash, packed, refs)
    select * from json_to_recordset($snapshots) as t (
      shard smallint, room_nid bigint, snapshot_nid bigint, base_nid bigint, height integer,
      entries integer, hash bytea, packed bytea, refs integer)
  ), deltas as (
    insert into state_deltas (
      shard, room_nid, position, type_nid, state_key_nid, old_event_nid, new_event_nid,
      old_membership, new_membership)
    select * from json_to_recordset($deltas) as t (
      shard smallint, room_nid bigint, position bigint, type_nid integer, state_key_nid bigint,
      old_event_nid bigint, new_event_nid bigint, old_membership text, new_membership text)
  ), changes as materialized (
    select t.*, rooms.generation from json_to_recordset($state) as t (
      shard smallint, room_nid bigint, type_nid integer, state_key_nid bigint, event_nid bigint)
    join rooms on rooms.shard = t.shard and rooms.room_nid = t.room_nid
  ), unset as (
    delete from current_state s using changes r
    where s.shard = r.shard and s.room_nid = r.room_nid and s.generation = r.generation
      and s.type_nid = r.type_nid and s.state_key_nid = r.state_key_nid and r.event_nid is null
  ), set as (
    insert into current_state (shard, room_nid, generation, type_nid, state_key_nid, event_nid)
    select shard, room_nid, generation, type_nid, state_key_nid, event_nid
    from changes where event_nid is not null
    on conflict (shard, room_nid, generation, type_nid, state_key_nid)
      do update set event_nid = excluded.event_nid
  ), members as (
    insert into memberships (
      shard, room_nid, generation, user_nid, membership, event_nid, sender_nid, position)
    select t.shard, t.room_nid, rooms.generation, t.user_nid, t.membership, t.event_nid,
      t.sender_nid, t.position
    from json_to_recordset($members) as t (
      shard smallint, room_nid bigint, user_nid bigint, membership text, event_nid bigint,
      sender_nid bigint, position bigint)
    join rooms on rooms.shard = t.shard and rooms.room_nid = t.room_nid
    on conflict (shard, room_nid, generation, user_nid) do update set
      membership = excluded.membership, event_nid = excluded.event_nid,
      sender_nid = excluded.sender_nid, position = excluded.position
  ), servers as (
    insert into room_servers (shard, room_nid, generation, server_nid, joined)
    select t.shard, t.room_nid, rooms.generation, t.server_nid, t.joined
    from json_to_recordset($servers)
      as t (shard smallint, room_nid bigint, server_nid integer, joined integer)
    join rooms on rooms.shard = t.shard and rooms.room_nid = t.room_nid
    on conflict (shard, room_nid, generation, server_nid)
      do update set joined = room_servers.joined + excluded.joined
  ), facts as (
    update rooms r set
      kind = coalesce(t.kind, r.kind),
      partial = coalesce(t.partial, r.partial),
      version = coalesce(t.version, r.version),
      join_set = coalesce(t.join_set, r.join_set),
      joined_members = r.joined_members + t.joined,
      invited_members = r.invited_members + t.invited
    from json_to_recordset($rooms) as t (
      shard smallint, room_nid bigint, kind text, partial boolean, version text, join_set bigint,
      joined integer, invited integer)
    where r.shard = t.shard and r.room_nid = t.room_nid
  ), numbered as materialized (
    select * from json_to_recordset($auth) as t (
      shard smallint, room_nid bigint, auth_order integer, event_nid bigint, parents integer[])
  ), complete as (
    delete from auth_pending p using numbered r
    where p.shard = r.shard and p.room_nid = r.room_nid and p.event_nid = r.event_nid
  ), auth as (
    insert into auth_graph (shard, room_nid, auth_order, event_nid, parents)
    select shard, room_nid, auth_order, event_nid, parents from numbered
  )`

/** Whether a part has rows for any of these. */
export const hasState = ({ snapshots, state, flip, room, auth }: RoomPart): boolean =>
  snapshots.length + state.length + auth.length > 0 || flip !== null || room !== null

/** New snapshots take their uses with them; what is left in `uses` are older ones. */
export const stateRows = (
  parts: readonly RoomPart[],
  uses: Map<string, fold.SnapshotUse>,
): StateRows => ({
  snapshots: snapshotRows(parts, uses),
  deltas: fold.deltaRows(parts),
  state: fold.stateRows(parts),
  members: fold.memberRows(parts),
  servers: fold.serverRows(parts),
  rooms: fold.roomRows(parts),
  auth: authRows(parts),
})

const snapshotRows = (parts: readonly RoomPart[], uses: Map<string, fold.SnapshotUse>) =>
  parts.flatMap((part) =>
    part.snapshots.map((snapshot) => {
      const key = `${part.shard} ${snapshot.snapshotNid}`
      const refs = uses.get(key)?.refs ?? 0
      uses.delete(key)
      return {
        shard: part.shard,
        room_nid: part.roomNid,
        snapshot_nid: snapshot.snapshotNid,
        base_nid: snapshot.baseNid,
        height: snapshot.height,
        entries: snapshot.entries,
        hash: byteaText(snapshot.hash),
        packed: byteaText(snapshot.packed),
        refs,
      }
    }),
  )

const authRows = (parts: readonly RoomPart[]) =>
  parts.flatMap((part) =>
    part.auth.map(({ eventNid, order, parents }) => ({
      shard: part.shard,
      room_nid: part.roomNid,
      auth_order: order,
      event_nid: eventNid,
      parents,
    })),
  )
