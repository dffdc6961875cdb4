import type { Sql } from '#store/db.ts'
import type { RoomPart } from './batch.ts'
import { byteaText } from './event-id.ts'
import * as links from './history-links.ts'

/** Statements of their own, for what few commits hold: `commit.ts` sends them in a transaction. */

export type Rare = { rows: object[]; statement: (sql: Sql, rows: string) => Promise<unknown> }

const withRows = (all: readonly Rare[]): Rare[] => all.filter(({ rows }) => rows.length > 0)

/** Whether a part has rows for any of these. */
export const isRare = (part: RoomPart): boolean =>
  [part.created, part.flip, part.staged].some((each) => each !== null) ||
  [part.authPending, part.revised, part.importChains, part.joinsDone, part.history].some(
    (each) => each.length > 0,
  ) ||
  part.events.some(({ claimed }) => claimed)

/** What the other statements of a commit build on. */
export const before = (parts: readonly RoomPart[]): Rare[] =>
  withRows([
    { rows: createdRows(parts), statement: insertRooms },
    { rows: flipRows(parts), statement: flipGenerations },
    { rows: stagedRows(parts), statement: insertStaged },
    { rows: pendingAuthRows(parts), statement: insertPendingAuth },
  ])

/** What builds on the others. */
export const after = (parts: readonly RoomPart[]): Rare[] =>
  withRows([
    { rows: claimedRows(parts), statement: fillClaims },
    { rows: revisedRows(parts), statement: reviseEvents },
    { rows: importChainRows(parts), statement: putImportChains },
    { rows: joinsDoneRows(parts), statement: deleteJoins },
    { rows: links.linkRows(parts), statement: links.insertLinks },
    { rows: links.answerRows(parts), statement: links.insertAnswers },
    { rows: links.awaitedRows(parts), statement: links.putAwaited },
    { rows: links.arrivedRows(parts), statement: links.dropAwaited },
  ])

/** Sends them without waiting. */
export const send = (sql: Sql, all: readonly Rare[]): Promise<unknown>[] =>
  all.map(({ rows, statement }) => statement(sql, JSON.stringify(rows)))

const createdRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, roomNid, created }) =>
    created
      ? [
          {
            shard,
            room_nid: roomNid,
            room_id: created.roomId,
            version: created.version,
            kind: created.kind,
            partial: created.partial,
          },
        ]
      : [],
  )

const insertRooms = (sql: Sql, rows: string) => sql`
  insert into rooms (shard, room_nid, room_id, version, kind, partial)
  select * from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, room_id text, version text, kind text, partial boolean)`

const flipRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, roomNid, flip }) =>
    flip
      ? [
          {
            shard,
            room_nid: roomNid,
            old_generation: flip.from,
            new_generation: flip.to,
            joined: flip.joinedMembers,
            invited: flip.invitedMembers,
          },
        ]
      : [],
  )

const flipGenerations = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json) as t (
      shard smallint, room_nid bigint, old_generation bigint, new_generation bigint,
      joined integer, invited integer)
  ), flipped as (
    update rooms set generation = r.new_generation,
      joined_members = r.joined, invited_members = r.invited
    from r
    where rooms.shard = r.shard and rooms.room_nid = r.room_nid
      and rooms.generation = r.old_generation
    returning 1
  )
  select laneway_require((select count(*) from flipped) = (select count(*) from r), 'LW003',
    'The state generation of a room is not the expected one')`

const stagedRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, roomNid, staged }) =>
    (staged?.entries ?? []).map((entry) => ({
      shard,
      room_nid: roomNid,
      generation: staged!.generation,
      type_nid: entry.typeNid,
      state_key_nid: entry.stateKeyNid,
      event_nid: entry.eventNid,
      user_nid: entry.member?.userNid ?? null,
      server_nid: entry.member?.serverNid ?? null,
      sender_nid: entry.member?.senderNid ?? null,
      membership: entry.member?.new ?? null,
    })),
  )

const insertStaged = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json) as t (
      shard smallint, room_nid bigint, generation bigint, type_nid integer, state_key_nid bigint,
      event_nid bigint, user_nid bigint, server_nid integer, sender_nid bigint, membership text)
  ), members as (
    insert into memberships (
      shard, room_nid, generation, user_nid, membership, event_nid, sender_nid, position)
    select shard, room_nid, generation, user_nid, membership, event_nid, sender_nid, 0
    from r where user_nid is not null
  ), servers as (
    insert into room_servers (shard, room_nid, generation, server_nid, joined)
    select shard, room_nid, generation, server_nid, count(*)
    from r where membership = 'join'
    group by shard, room_nid, generation, server_nid
    on conflict (shard, room_nid, generation, server_nid)
      do update set joined = room_servers.joined + excluded.joined
  )
  insert into current_state (shard, room_nid, generation, type_nid, state_key_nid, event_nid)
  select shard, room_nid, generation, type_nid, state_key_nid, event_nid from r`

const claimedRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, events }) =>
    events
      .filter(({ claimed }) => claimed)
      .map(({ eventId, eventNid }) => ({
        shard,
        event_id: byteaText(eventId),
        event_nid: eventNid,
      })),
  )

const fillClaims = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json)
      as t (shard smallint, event_id bytea, event_nid bigint)
  ), filled as (
    update event_ids i set event_nid = r.event_nid, claimed_by = null
    from r where i.event_id = r.event_id and i.shard = r.shard and i.event_nid = 0
    returning 1
  )
  select laneway_require((select count(*) from filled) = (select count(*) from r), 'LW003',
    'An event ID was not claimed, or is an event already')`

const revisedRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, revised }) =>
    revised.map((event) => ({
      shard,
      event_nid: event.eventNid,
      chain: event.chain,
      chain_index: event.chainIndex,
      position: event.position,
      ingest: event.ingest,
      flags: event.flags,
      push_flags: event.pushFlags,
      snapshot_nid: event.snapshotNid,
      destination_set: event.destinationSet,
      prev_nids: event.prevNids,
      auth_nids: event.authNids ?? null,
    })),
  )

const reviseEvents = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json) as t (
      shard smallint, event_nid bigint, chain bigint, chain_index integer, position bigint,
      ingest bigint, flags smallint, push_flags integer, snapshot_nid bigint,
      destination_set bigint, prev_nids bigint[], auth_nids bigint[])
  ), revised as (
    update events e set
      chain = r.chain, chain_index = r.chain_index, position = r.position, ingest = r.ingest,
      flags = r.flags, push_flags = r.push_flags, snapshot_nid = r.snapshot_nid,
      destination_set = r.destination_set, prev_nids = r.prev_nids,
      auth_nids = coalesce(r.auth_nids, e.auth_nids)
    from r
    where e.shard = r.shard and e.event_nid = r.event_nid
      and (e.chain is null or (e.chain, e.chain_index) = (r.chain, r.chain_index))
      and (e.position is null or e.position = r.position)
    returning e.shard, e.event_nid, e.flags
  ), cleared as (
    delete from rejections j using revised
    where j.shard = revised.shard and j.event_nid = revised.event_nid and revised.flags & 3 = 0
  )
  select laneway_require((select count(*) from revised) = (select count(*) from r), 'LW003',
    'A revised event is missing, or would change its place')`

const importChainRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, roomNid, importChains }) =>
    importChains.map(({ chain, publishedAt, hiddenAt }) => ({
      shard,
      room_nid: roomNid,
      chain,
      published_at: publishedAt,
      hidden_at: hiddenAt,
    })),
  )

const putImportChains = (sql: Sql, rows: string) => sql`
  insert into import_chains (shard, room_nid, chain, published_at, hidden_at)
  select * from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, chain bigint, published_at bigint, hidden_at bigint)
  on conflict (shard, chain) do update set
    published_at = coalesce(excluded.published_at, import_chains.published_at),
    hidden_at = coalesce(excluded.hidden_at, import_chains.hidden_at)`

const pendingAuthRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, roomNid, authPending }) =>
    authPending.map(({ eventNid, cites }) => ({
      shard,
      room_nid: roomNid,
      event_nid: eventNid,
      cites: cites.map(byteaText),
    })),
  )

const insertPendingAuth = (sql: Sql, rows: string) => sql`
  insert into auth_pending (shard, room_nid, event_nid, cites)
  select * from json_to_recordset(${rows}::text::json)
    as t (shard smallint, room_nid bigint, event_nid bigint, cites bytea[])
  on conflict do nothing`

const joinsDoneRows = (parts: readonly RoomPart[]) =>
  parts.flatMap(({ shard, joinsDone }) =>
    joinsDone.map(({ roomId, userId }) => ({ shard, room_id: roomId, user_id: userId })),
  )

const deleteJoins = (sql: Sql, rows: string) => sql`
  delete from pending_joins p
  using json_to_recordset(${rows}::text::json)
    as t (shard smallint, room_id text, user_id text)
  where p.shard = t.shard and p.room_id = t.room_id and p.user_id = t.user_id`
