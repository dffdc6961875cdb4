-- compat: 2
-- MSC2716: history that application services put into rooms in batches. Written by the owner of the room's
-- shard, in the commit of the events themselves.

-- What insertion events offer, and what batch events take up.
create table history_links (
  shard smallint not null,
  room_nid bigint not null,
  event_nid bigint not null,
  is_insertion boolean not null,
  batch_id text collate "C" not null,
  primary key (shard, room_nid, batch_id, event_nid)
);
create index history_links_by_event on history_links (shard, event_nid);

-- What each request for a batch was answered, for those who did not get it. Dropped after a day.
create table history_answers (
  shard smallint not null,
  room_nid bigint not null,
  made_at bigint not null,
  request bytea not null,               -- a hash of all that was asked for
  answer text collate "C" not null,     -- JSON
  primary key (shard, room_nid, request)
);

-- Insertion events that a marker has named and that have no place yet.
create table history_awaited (
  shard smallint not null,
  room_nid bigint not null,
  insertion_id bytea not null,
  prev_id bytea,                        -- what it follows, and we do not have; null: it could not be fetched
  server text collate "C" not null,     -- of who sent the marker
  primary key (shard, room_nid, insertion_id)
);
