-- compat: 1
-- Rooms: events, state, order, inbox. Everything here is written by the owner of the room's shard
-- (a room worker), in its group commit, unless a table says otherwise. Invariants:
--   * no foreign keys: none may point to a row of another owner;
--   * numbers (nids) of events, rooms, chains and snapshots come from the shard's own counter:
--     nid = counter * shard count + shard, so a nid names its shard and no sequence is shared;
--   * tables that grow with events carry the shard first in their keys, to be partitioned by it.
-- Texts compare by code point.

create table settings (
  name text collate "C" primary key,
  value text collate "C" not null
);
comment on table settings is 'Facts fixed when the database is made: server_name, shards; written once, by main. And rotate_signing_key: the key that is not to sign after the next start; written by a command, removed by that start.';

-- ---------------------------------------------------------------- ownership and positions

create table room_shards (
  shard smallint primary key,
  position bigint not null default 0,   -- last committed position of the shard's stream
  counter bigint not null default 0,    -- last number given out (events, rooms, chains, snapshots)
  ingest bigint not null default 0,     -- last ingest number
  -- The last batch committed. A commit names the batch before it and fails if another came between;
  -- whoever asks for an unknown outcome puts a new value here, so that a straggler cannot succeed.
  batch uuid
) with (fillfactor = 50);

create table room_shard_leases (
  shard smallint primary key,
  epoch bigint not null default 0,
  owner text collate "C"
);
comment on table room_shard_leases is 'A commit takes its row FOR SHARE; a takeover updates it before it reads room_shards.';

-- A condition that must hold for a pipelined transaction to go on. LW001: the lease is another's;
-- LW002: another batch came between; LW003: a row is not as the owner of the room knows it.
create function laneway_require(ok boolean, code text, reason text) returns boolean
language plpgsql as $$
begin
  if ok then return true; end if;
  raise exception using errcode = code, message = reason;
end $$;

-- ---------------------------------------------------------------- interned numbers
-- Append-only, made before a commit in short sorted transactions of their own.

create table event_types (
  type_nid integer generated always as identity primary key,
  type text collate "C" not null unique
);

create table state_keys (
  state_key_nid bigint generated always as identity primary key,
  type_nid integer not null,
  state_key text collate "C" not null,
  unique (type_nid, state_key)
);

create table servers (
  server_nid integer generated always as identity primary key,
  name text collate "C" not null unique
);

create table user_ids (
  user_nid bigint generated always as identity primary key,
  user_id text collate "C" not null unique,
  server_nid integer not null
);

create table server_sets (
  set_nid bigint generated always as identity primary key,
  hash bytea not null unique,           -- of the whole set, whatever its order
  -- null: servers are the whole set; else a set to which servers adds them, or removes -nid
  base_nid bigint,
  height smallint not null,             -- how many bases lie below
  servers integer[] not null
);

-- ---------------------------------------------------------------- rooms

create table rooms (
  shard smallint not null,
  room_nid bigint not null,
  room_id text collate "C" not null,
  version text collate "C" not null,
  -- joined: a local user is or was joined and we follow it; outside: known by invite or knock only
  kind text collate "C" not null check (kind in ('joined', 'outside')),
  partial boolean not null default false,
  generation bigint not null default 0, -- the state generation that readers use
  -- counts of current members, kept in the room's commits
  joined_members integer not null default 0,
  invited_members integer not null default 0,
  -- server_sets: who is in the room by the word of who let us in, kept from the answer to our join. With
  -- partial state it says whom to send to. Null: made here, or known from outside only.
  join_set bigint,
  primary key (shard, room_nid)
) with (fillfactor = 80);
create unique index rooms_by_id on rooms (room_id);

create table event_ids (
  event_id bytea primary key,           -- 32 hash bytes; the UTF-8 text in v1 and v2
  shard smallint not null,
  event_nid bigint not null,            -- 0: claimed (v1, v2), not yet persisted
  claimed_by text collate "C"           -- the room ID of a claim
);
comment on table event_ids is 'The one look-up across shards: an event ID is unique in all of them.';

-- Wide columns first: rows are many, padding is not free.
create table events (
  event_nid bigint not null,
  room_nid bigint not null,
  sender_nid bigint not null,
  depth bigint not null,
  origin_server_ts bigint not null,
  state_key_nid bigint,                 -- null: not a state event
  chain bigint,                         -- reading order: the chain, and the index in it; both immutable
  position bigint,                      -- live events only
  ingest bigint,                        -- every row but a staged one
  snapshot_nid bigint,                  -- the state before the event
  destination_set bigint,               -- server_sets: joined before or after it
  type_nid integer not null,
  chain_index integer,
  push_flags integer not null default 0, -- what the default push rules ask of it, once for all users
  shard smallint not null,
  flags smallint not null default 0,    -- 1 rejected, 2 soft-failed, 4 outlier, 8 partial
  event_id bytea not null,
  prev_nids bigint[] not null default '{}', -- of those that are here
  auth_nids bigint[] not null default '{}',
  primary key (shard, event_nid)
);
-- Covers the folding of unread counts.
create index events_live on events (shard, room_nid, position) include (sender_nid, push_flags)
  where position is not null;
create index events_by_position on events (shard, position) where position is not null;
create unique index events_by_chain on events (shard, chain, chain_index) where chain is not null;
-- Followers find live events by position, and by ingest number what has none. Each index of this table
-- costs every event: one is made together with what first reads it.
create index events_by_ingest on events (shard, ingest)
  where ingest is not null and position is null;

create table event_json (
  event_nid bigint not null,
  shard smallint not null,
  json text collate "C" not null,       -- the federation form, exactly as hashed and signed
  -- what is ours and no part of the event: invite_room_state, the local transaction
  internal text collate "C",
  primary key (shard, event_nid)
);

create table rejections (
  shard smallint not null,
  event_nid bigint not null,
  reason text collate "C" not null,
  primary key (shard, event_nid)
);

-- ---------------------------------------------------------------- reading order

create table spans (
  shard smallint not null,
  room_nid bigint not null,
  order_key bytea not null,             -- sortable, with room between neighbours
  chain bigint not null,
  from_index integer,                   -- null: open towards older
  to_index integer,                     -- null: open, a live append touches no span
  gap text[] collate "C",               -- event IDs missing before this span
  hidden boolean not null default false,
  primary key (shard, room_nid, order_key)
);
create index spans_by_chain on spans (shard, chain);

-- Imports: a chain with a row here is invisible to every reader, by event ID too, but where it is
-- published and not hidden. Publishing and hiding are rows at a position; followers then walk the chain.
create table import_chains (
  shard smallint not null,
  chain bigint not null,
  room_nid bigint not null,
  published_at bigint,                  -- null: staged
  hidden_at bigint,                     -- null: not undone
  primary key (shard, chain)
);
create index import_chains_published on import_chains (shard, published_at)
  where published_at is not null;
create index import_chains_hidden on import_chains (shard, hidden_at) where hidden_at is not null;

create table missing_prevs (
  shard smallint not null,
  room_nid bigint not null,
  event_id bytea not null,              -- cited, not here
  child_nid bigint not null,
  primary key (shard, room_nid, event_id, child_nid)
);

create table extremities (
  shard smallint not null,
  room_nid bigint not null,
  event_nid bigint not null,
  primary key (shard, room_nid, event_nid)
);

-- ---------------------------------------------------------------- state

create table current_state (
  room_nid bigint not null,
  generation bigint not null default 0,
  state_key_nid bigint not null,
  event_nid bigint not null,
  type_nid integer not null,
  shard smallint not null,
  primary key (shard, room_nid, generation, type_nid, state_key_nid)
) with (fillfactor = 90);

create table state_deltas (
  position bigint not null,
  room_nid bigint not null,
  -- 0, with type 0: the whole state was replaced; old and new are then generations
  state_key_nid bigint not null,
  old_event_nid bigint,
  new_event_nid bigint,
  type_nid integer not null,
  shard smallint not null,
  old_membership text collate "C",      -- both null: no member event, or none before, none after
  new_membership text collate "C",
  primary key (shard, room_nid, position, state_key_nid)
);
create index state_deltas_by_position on state_deltas (shard, position);
create index state_deltas_flips on state_deltas (shard, room_nid, position)
  where state_key_nid = 0;

create table snapshots (
  shard smallint not null,
  snapshot_nid bigint not null,
  room_nid bigint not null,
  base_nid bigint,                      -- null: full; else a delta to this older snapshot
  height integer not null,              -- position in the chain of deltas; decides how far back the base lies
  entries integer not null,             -- entries of the whole state
  hash bytea not null,                  -- of the whole state: by it the same state is known in memory
  packed bytea not null,                -- sorted (state_key_nid, event_nid), delta + varint
  refs integer not null default 0,      -- events and younger deltas that build on it
  partial boolean not null default false, -- of a join whose members are not all here yet
  primary key (shard, snapshot_nid)
  -- Counting a reference must not copy the bytes, so they are kept outside the row from early on.
) with (fillfactor = 80, toast_tuple_target = 256);
alter table snapshots alter column packed set storage external;
-- In the order in which a purge goes through them.
create index snapshots_by_room on snapshots (shard, room_nid, snapshot_nid);

-- Auth chains of state events: numbered parents first, once the whole chain of an event is known.
create table auth_graph (
  shard smallint not null,
  room_nid bigint not null,
  auth_order integer not null,
  event_nid bigint not null,
  parents integer[] not null,           -- auth_orders of its auth events
  primary key (shard, room_nid, auth_order)
);
create unique index auth_graph_by_event on auth_graph (shard, event_nid);
-- State events that have no number yet, because what they lead to is not all here.
create table auth_pending (
  shard smallint not null,
  room_nid bigint not null,
  event_nid bigint not null,
  cites bytea[] not null,               -- the IDs of its auth events
  primary key (shard, room_nid, event_nid)
);

create table memberships (
  room_nid bigint not null,
  user_nid bigint not null,
  generation bigint not null default 0,
  event_nid bigint,                     -- null: no member event any more
  sender_nid bigint not null,
  position bigint not null,             -- of the last change; 0: staged with the whole state
  shard smallint not null,
  membership text collate "C" not null, -- join, invite, knock, leave, ban; none without an event
  primary key (shard, room_nid, generation, user_nid)
) with (fillfactor = 90);
comment on table memberships is 'Rows of a generation that is not the room''s are staged, or old: join rooms.';
create index memberships_by_user on memberships (user_nid, membership);
-- The first few of a membership, in a room of any size.
create index memberships_by_room on memberships (shard, room_nid, generation, membership, position);

create table room_servers (
  room_nid bigint not null,
  generation bigint not null default 0,
  server_nid integer not null,
  joined integer not null,              -- its joined members
  shard smallint not null,
  primary key (shard, room_nid, generation, server_nid)
) with (fillfactor = 80);
create index room_servers_by_server on room_servers (server_nid);

create table redactions (
  shard smallint not null,
  room_nid bigint not null,
  target_id bytea not null,
  redaction_nid bigint not null,
  applied boolean not null default false, -- both are known and the redaction counts
  primary key (shard, room_nid, target_id, redaction_nid)
);
create index redactions_waiting on redactions (shard, room_nid) where not applied;

create table mentions (
  shard smallint not null,
  room_nid bigint not null,
  position bigint not null,
  user_nid bigint not null,
  primary key (shard, room_nid, user_nid, position)
);

-- ---------------------------------------------------------------- local sends

create table local_txns (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  path text collate "C" not null,       -- the spec's scope: same device, same path
  txn_id text collate "C" not null,
  event_nid bigint not null,
  sent_at bigint not null,
  primary key (shard, user_id, device_id, path, txn_id)
);
create index local_txns_by_time on local_txns (shard, sent_at);

-- ---------------------------------------------------------------- inbound federation

create table inbox (
  -- Taken in blocks: who inserts asks once for 64 numbers.
  inbox_id bigint generated by default as identity (increment 64),
  shard smallint not null,
  room_id text collate "C" not null,
  origin text collate "C" not null,
  json text collate "C" not null,       -- the PDU as received
  received_at bigint not null,
  attempts integer not null default 0,  -- with not_before: back-off of what lacks something
  not_before bigint not null default 0,
  primary key (shard, inbox_id)
);
comment on table inbox is 'Inserted by the intake on main, never updated by it; deleted by the room commit that persists the event, or that drops it.';
create index inbox_by_room on inbox (shard, room_id, inbox_id);

-- Written by the intake with the inbox rows, so that a replay of (origin, txn_id) gets the same answer.
create table inbound_txns (
  origin text collate "C" not null,
  txn_id text collate "C" not null,
  answer text collate "C" not null,
  received_at bigint not null,
  primary key (origin, txn_id)
);
create index inbound_txns_by_time on inbound_txns (received_at);

create table inbox_quarantine (
  shard smallint not null,
  inbox_id bigint not null,
  room_id text collate "C" not null,
  origin text collate "C" not null,
  json text collate "C" not null,
  error text collate "C" not null,
  quarantined_at bigint not null,
  primary key (shard, inbox_id)
);

create table pending_joins (
  shard smallint not null,
  room_id text collate "C" not null,
  user_id text collate "C" not null,
  version text collate "C" not null,
  event text collate "C" not null,      -- the signed join, sent again after a restart
  via text[] collate "C" not null,
  created_at bigint not null,
  primary key (shard, room_id, user_id)
);

insert into room_shards (shard) select generate_series(0, 63);
insert into room_shard_leases (shard) select generate_series(0, 63);
insert into settings (name, value) values ('shards', '64');
