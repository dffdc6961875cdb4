import type { Pool, Sql } from '#store/db.ts'
import type { Batch, Lease, RoomPart } from './batch.ts'
import { byteaText } from './event-id.ts'
import * as fold from './fold.ts'
import * as late from './commit-rare.ts'

/**
 * The one way by which decided events become durable: a single transaction of a few statements, sent
 * without waiting in between. Each unpacks its rows from one JSON text, the cheapest way measured.
 */
export async function commit(pool: Pool, batch: Batch): Promise<void> {
  await pool.begin((sql) =>
    Promise.all([guard(sql, batch.shards), advance(sql, batch), ...write(sql, batch.parts)]),
  )
}

/**
 * Writes staged rows of an import: no position, no counter, so it needs no turn and may use another
 * connection than the commits of its shard, whose lease it must hold all the same.
 */
export async function stage(
  pool: Pool,
  leases: readonly Lease[],
  parts: readonly RoomPart[],
): Promise<void> {
  await pool.begin((sql) => Promise.all([guard(sql, leases), ...write(sql, parts)]))
}

const codeOf = (error: unknown) =>
  error instanceof Error && 'code' in error ? error.code : undefined

/** Another process has taken the shard over: this one may write it no more. */
export const isLeaseLost = (error: unknown): boolean => codeOf(error) === 'LW001'

/** Another batch, or a question for the outcome of this one, came between. */
export const isOvertaken = (error: unknown): boolean => codeOf(error) === 'LW002'

/** The lock that keeps a takeover out until this transaction ends. Sorted, as every taker of many. */
const guard = (sql: Sql, leases: readonly Lease[]) => {
  const wanted = leases.toSorted((a, b) => a.shard - b.shard)
  return sql`
    with wanted as (
      select * from unnest(
        ${wanted.map(({ shard }) => shard)}::smallint[],
        ${wanted.map(({ epoch }) => epoch)}::bigint[]
      ) as t (shard, epoch)
    ), held as materialized (
      select l.shard from room_shard_leases l join wanted w on w.shard = l.shard
      where l.epoch = w.epoch order by l.shard for share of l
    )
    select laneway_require(
      (select count(*) from held) = ${wanted.length}::int, 'LW001', 'The lease of a shard is lost')`
}

const advance = (sql: Sql, { id, shards }: Batch) => sql`
  with moved as (
    update room_shards s
    set position = n.position, counter = n.counter, ingest = n.ingest, batch = ${id}::uuid
    from unnest(
      ${shards.map(({ shard }) => shard)}::smallint[],
      ${shards.map(({ previous }) => previous)}::uuid[],
      ${shards.map(({ position }) => position)}::bigint[],
      ${shards.map(({ counter }) => counter)}::bigint[],
      ${shards.map(({ ingest }) => ingest)}::bigint[]
    ) as n (shard, previous, position, counter, ingest)
    where s.shard = n.shard and s.batch is not distinct from n.previous
    returning 1
  )
  select laneway_require(
    (select count(*) from moved) = ${shards.length}::int, 'LW002', 'Another batch came between')`

/** Every statement after the guards. Lists without rows send none. */
function write(sql: Sql, parts: readonly RoomPart[]): Promise<unknown>[] {
  const statements: Promise<unknown>[] = []
  const send = (rows: readonly object[], statement: (json: string) => Promise<unknown>) => {
    if (rows.length) statements.push(statement(JSON.stringify(rows)))
  }
  const { extremities, missing } = fold.edgeRows(parts)
  const uses = fold.snapshotUses(parts)

  send(late.createdRows(parts), (json) => late.insertRooms(sql, json))
  send(late.flipRows(parts), (json) => late.flipGenerations(sql, json))
  send(late.stagedRows(parts), (json) => late.insertStaged(sql, json))

  send(eventRows(parts), (json) => insertEvents(sql, json))
  send(late.claimedRows(parts), (json) => late.fillClaims(sql, json))
  send(late.revisedRows(parts), (json) => late.reviseEvents(sql, json))
  send(extremities.removed, (json) => deleteExtremities(sql, json))
  send(extremities.added, (json) => insertExtremities(sql, json))
  send(snapshotRows(parts, uses), (json) => insertSnapshots(sql, json))
  send([...uses.values()], (json) => countUses(sql, json))

  send(fold.deltaRows(parts), (json) => insertDeltas(sql, json))
  send(fold.stateRows(parts), (json) => writeState(sql, json))
  send(fold.memberRows(parts), (json) => writeMembers(sql, json))
  send(fold.serverRows(parts), (json) => countServers(sql, json))
  send(fold.roomRows(parts), (json) => updateRooms(sql, json))
  send(late.pendingAuthRows(parts), (json) => late.insertPendingAuth(sql, json))
  send(authRows(parts), (json) => insertAuth(sql, json))

  send(missing.arrived, (json) => late.deleteMissing(sql, json))
  send(missing.added, (json) => late.insertMissing(sql, json))
  send(fold.spanRows(parts), (json) => late.putSpans(sql, json))
  send(late.importChainRows(parts), (json) => late.putImportChains(sql, json))
  send(fold.redactionRows(parts), (json) => late.putRedactions(sql, json))
  send(late.mentionRows(parts), (json) => late.insertMentions(sql, json))
  send(late.txnRows(parts), (json) => late.insertTxns(sql, json))
  send(late.joinsDoneRows(parts), (json) => late.deleteJoins(sql, json))
  send(inboxRows(parts), (json) => deleteInbox(sql, json))
  return statements
}

const eventRows = (parts: readonly RoomPart[]) =>
  parts.flatMap((part) =>
    part.events.map((event) => ({
      shard: part.shard,
      room_nid: part.roomNid,
      event_nid: event.eventNid,
      event_id: byteaText(event.eventId),
      type_nid: event.typeNid,
      state_key_nid: event.stateKeyNid,
      sender_nid: event.senderNid,
      depth: event.depth,
      origin_server_ts: event.originServerTs,
      chain: event.chain,
      chain_index: event.chainIndex,
      position: event.position,
      ingest: event.ingest,
      flags: event.flags,
      push_flags: event.pushFlags,
      snapshot_nid: event.snapshotNid,
      destination_set: event.destinationSet,
      prev_nids: event.prevNids,
      auth_nids: event.authNids,
      json: event.json,
      internal: event.internal,
      reason: event.rejection,
      claimed: event.claimed,
    })),
  )

const insertEvents = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json) as t (
      shard smallint, room_nid bigint, event_nid bigint, event_id bytea, type_nid integer,
      state_key_nid bigint, sender_nid bigint, depth bigint, origin_server_ts bigint,
      chain bigint, chain_index integer, position bigint, ingest bigint, flags smallint,
      push_flags integer, snapshot_nid bigint, destination_set bigint,
      prev_nids bigint[], auth_nids bigint[],
      json text, internal text, reason text, claimed boolean)
  ), ids as (
    insert into event_ids (event_id, shard, event_nid)
    select event_id, shard, event_nid from r where not claimed
  ), texts as (
    insert into event_json (shard, event_nid, json, internal)
    select shard, event_nid, json, internal from r
  ), reasons as (
    insert into rejections (shard, event_nid, reason)
    select shard, event_nid, reason from r where reason is not null
  )
  insert into events (
    shard, room_nid, event_nid, event_id, type_nid, state_key_nid, sender_nid, depth,
    origin_server_ts, chain, chain_index, position, ingest, flags, push_flags, snapshot_nid,
    destination_set, prev_nids, auth_nids)
  select
    shard, room_nid, event_nid, event_id, type_nid, state_key_nid, sender_nid, depth,
    origin_server_ts, chain, chain_index, position, ingest, flags, push_flags, snapshot_nid,
    destination_set, prev_nids, auth_nids
  from r`

const insertExtremities = (sql: Sql, rows: string) => sql`
  insert into extremities (shard, room_nid, event_nid)
  select * from json_to_recordset(${rows}::text::json)
    as t (shard smallint, room_nid bigint, event_nid bigint)`

const deleteExtremities = (sql: Sql, rows: string) => sql`
  delete from extremities x
  using json_to_recordset(${rows}::text::json)
    as t (shard smallint, room_nid bigint, event_nid bigint)
  where x.shard = t.shard and x.room_nid = t.room_nid and x.event_nid = t.event_nid`

/** New snapshots take their uses with them; what is left in `uses` are older ones. */
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

const insertSnapshots = (sql: Sql, rows: string) => sql`
  insert into snapshots (
    shard, room_nid, snapshot_nid, base_nid, height, entries, hash, packed, refs)
  select * from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, snapshot_nid bigint, base_nid bigint, height integer,
    entries integer, hash bytea, packed bytea, refs integer)`

/** Nothing may build on a snapshot that is not there. */
const countUses = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json)
      as t (shard smallint, snapshot_nid bigint, refs integer)
  ), counted as (
    update snapshots s set refs = s.refs + r.refs
    from r where s.shard = r.shard and s.snapshot_nid = r.snapshot_nid
    returning 1
  )
  select laneway_require((select count(*) from counted) = (select count(*) from r), 'LW003',
    'A snapshot that is built on is not there')`

const insertDeltas = (sql: Sql, rows: string) => sql`
  insert into state_deltas (
    shard, room_nid, position, type_nid, state_key_nid, old_event_nid, new_event_nid,
    old_membership, new_membership)
  select * from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, position bigint, type_nid integer, state_key_nid bigint,
    old_event_nid bigint, new_event_nid bigint, old_membership text, new_membership text)`

const writeState = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select t.*, rooms.generation from json_to_recordset(${rows}::text::json) as t (
      shard smallint, room_nid bigint, type_nid integer, state_key_nid bigint, event_nid bigint)
    join rooms on rooms.shard = t.shard and rooms.room_nid = t.room_nid
  ), gone as (
    delete from current_state s using r
    where s.shard = r.shard and s.room_nid = r.room_nid and s.generation = r.generation
      and s.type_nid = r.type_nid and s.state_key_nid = r.state_key_nid and r.event_nid is null
  )
  insert into current_state (shard, room_nid, generation, type_nid, state_key_nid, event_nid)
  select shard, room_nid, generation, type_nid, state_key_nid, event_nid
  from r where event_nid is not null
  on conflict (shard, room_nid, generation, type_nid, state_key_nid)
    do update set event_nid = excluded.event_nid`

const writeMembers = (sql: Sql, rows: string) => sql`
  insert into memberships (
    shard, room_nid, generation, user_nid, membership, event_nid, sender_nid, position)
  select t.shard, t.room_nid, rooms.generation, t.user_nid, t.membership, t.event_nid,
    t.sender_nid, t.position
  from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, user_nid bigint, membership text, event_nid bigint,
    sender_nid bigint, position bigint)
  join rooms on rooms.shard = t.shard and rooms.room_nid = t.room_nid
  on conflict (shard, room_nid, generation, user_nid) do update set
    membership = excluded.membership, event_nid = excluded.event_nid,
    sender_nid = excluded.sender_nid, position = excluded.position`

const countServers = (sql: Sql, rows: string) => sql`
  insert into room_servers (shard, room_nid, generation, server_nid, joined)
  select t.shard, t.room_nid, rooms.generation, t.server_nid, t.joined
  from json_to_recordset(${rows}::text::json)
    as t (shard smallint, room_nid bigint, server_nid integer, joined integer)
  join rooms on rooms.shard = t.shard and rooms.room_nid = t.room_nid
  on conflict (shard, room_nid, generation, server_nid)
    do update set joined = room_servers.joined + excluded.joined`

const updateRooms = (sql: Sql, rows: string) => sql`
  update rooms r set
    kind = coalesce(t.kind, r.kind),
    partial = coalesce(t.partial, r.partial),
    version = coalesce(t.version, r.version),
    join_set = coalesce(t.join_set, r.join_set),
    joined_members = r.joined_members + t.joined,
    invited_members = r.invited_members + t.invited
  from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, kind text, partial boolean, version text, join_set bigint,
    joined integer, invited integer)
  where r.shard = t.shard and r.room_nid = t.room_nid`

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

const insertAuth = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json) as t (
      shard smallint, room_nid bigint, auth_order integer, event_nid bigint, parents integer[])
  ), complete as (
    delete from auth_pending p using r
    where p.shard = r.shard and p.room_nid = r.room_nid and p.event_nid = r.event_nid
  )
  insert into auth_graph (shard, room_nid, auth_order, event_nid, parents)
  select shard, room_nid, auth_order, event_nid, parents from r`

const inboxRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, inbox }) => inbox.map((inbox_id) => ({ shard, inbox_id })))

const deleteInbox = (sql: Sql, rows: string) => sql`
  delete from inbox i
  using json_to_recordset(${rows}::text::json) as t (shard smallint, inbox_id bigint)
  where i.shard = t.shard and i.inbox_id = t.inbox_id`
