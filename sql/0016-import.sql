-- compat: 2
-- Imports of history. Written by the owner of the room's shard, like the rooms themselves. The events of
-- an import are rows of `events` in a chain of their own (`import_chains`), invisible until it is published.

create table import_sessions (
  shard smallint not null,
  session_nid bigint not null,
  room_nid bigint not null,
  chain bigint not null,
  base_snapshot bigint not null,        -- the state that the chain begins with
  session_id text collate "C" not null unique,
  room_id text collate "C" not null,
  source text collate "C" not null,     -- what the importer calls where the history comes from
  owner text collate "C" not null,      -- who opened it: a user, or an application service
  mode text collate "C" not null,       -- fresh, archive, insert, append
  wish text collate "C" not null,       -- JSON: where it is to be placed, and what else was asked for
  state text collate "C" not null default 'open', -- committed, undone, aborted
  answer text collate "C",              -- JSON: what its commit answered
  anchors bigint[] not null,            -- the extremities on which its first event stands
  -- Where the chain ends, but for memberships that were committed since: those have greater indexes.
  tip_nid bigint,
  next_index integer not null default 0,
  -- Depths are numbered from here on, or are all the same; null until the first event.
  depth bigint,
  dense boolean not null default true,
  next_batch integer not null default 0,
  accepted bigint not null default 0,
  duplicates bigint not null default 0,
  failed bigint not null default 0,
  first_ts bigint,
  last_ts bigint,
  created_at bigint not null,
  primary key (shard, session_nid)
) with (fillfactor = 50);
create unique index import_sessions_open on import_sessions (shard, room_nid, source)
  where state = 'open';
create index import_sessions_by_room on import_sessions (room_id, session_nid);

-- What each batch was answered, for those who ask again.
create table import_batches (
  shard smallint not null,
  session_nid bigint not null,
  batch integer not null,
  answer text collate "C" not null,     -- JSON
  primary key (shard, session_nid, batch)
);

-- Every record of a source makes one event of a room. Rows of a session that was undone or aborted do not
-- count, and are taken over by the next that brings the record.
create table import_records (
  shard smallint not null,
  room_nid bigint not null,
  session_nid bigint not null,
  event_nid bigint,                     -- null: it waits for what it relates to
  batch integer not null,
  source text collate "C" not null,
  src_id text collate "C" not null,
  primary key (shard, room_nid, source, src_id)
);

-- Records that relate to one that has not come, with the place that is kept for them.
create table import_waiting (
  shard smallint not null,
  session_nid bigint not null,
  chain_index integer not null,
  record text collate "C" not null,     -- JSON
  primary key (shard, session_nid, chain_index)
);

-- Who speaks in a session, and is joined to the room only within its chain.
create table import_people (
  shard smallint not null,
  session_nid bigint not null,
  user_id text collate "C" not null,
  displayname text collate "C",
  avatar_url text collate "C",
  stays boolean not null,               -- does not leave at the end
  primary key (shard, session_nid, user_id)
);

-- Live history that goes on behind an import: /sync begins with it, so that clients page back into the import.
alter table spans add column after_import boolean not null default false;

-- How far chains that were published are indexed, or, once undone, taken out of the index.
create table event_index_chains (
  shard smallint not null,
  chain bigint not null,
  next_index integer not null,
  dropping boolean not null,
  done boolean not null,
  primary key (shard, chain)
) with (fillfactor = 50);
