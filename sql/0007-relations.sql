-- compat: 2
-- What is found by more than its place: relations, and words to search for. Written by one follower on
-- the main thread, which trails the room shards: effects and cursor in one transaction, so what it
-- wrote is always complete up to the cursor. Every event with a place in a room's history is indexed,
-- live, late or old; rejected, soft-failed and redacted ones are not.

create table event_index_cursors (
  shard smallint primary key,
  position bigint not null default 0,   -- live events are indexed up to here
  ingest bigint not null default 0      -- those without a position up to here
) with (fillfactor = 50);
insert into event_index_cursors (shard) select shard from room_shards;

create table relations (
  event_nid bigint not null,
  room_nid bigint not null,
  sender_nid bigint not null,
  origin_server_ts bigint not null,
  chain bigint not null,                -- the event's place, which never changes
  position bigint,                      -- null: not a live event
  type_nid integer not null,
  chain_index integer not null,
  shard smallint not null,
  replaces boolean not null,            -- by its own form it may replace another event
  event_id bytea not null,
  target_id bytea not null,             -- what it relates to; nobody says that it is here
  rel_type text collate "C" not null,
  key_md5 uuid,                         -- what an annotation says
  primary key (shard, event_nid)
);
create index relations_by_target on relations (shard, room_nid, target_id, rel_type);
create index relations_threads on relations (shard, room_nid, target_id)
  where rel_type = 'm.thread';

create table search_words (
  event_nid bigint not null,
  room_nid bigint not null,
  sender_nid bigint not null,
  origin_server_ts bigint not null,
  type_nid integer not null,
  shard smallint not null,
  -- The words of the event, and one that names its room, so that a search looks at its rooms alone.
  words tsvector not null,
  primary key (shard, event_nid)
);
create index search_words_by_word on search_words using gin (words);
