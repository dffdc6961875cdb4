-- compat: 2
-- What administrators do with rooms, and what finds an event by its time.

-- Rooms that nobody here joins any more, known to this server or not. Written by whoever serves the request.
create table blocked_rooms (
  room_id text collate "C" primary key,
  blocked_by text collate "C" not null,
  blocked_at bigint not null
);

-- Rooms that are being deleted, and for a week those that were; and the same for old history. Written by the main
-- thread, which goes on after a restart with what has not ended. The rows of a room are deleted by its owner.
create table room_deletions (
  delete_id text collate "C" primary key,
  room_id text collate "C" not null,
  requested_by text collate "C" not null,
  requested_at bigint not null,
  status text collate "C" not null check (status in ('scheduled', 'active', 'complete', 'failed')),
  options text collate "C" not null,    -- JSON: what is wanted
  outcome text collate "C" not null,    -- JSON: what was done up to now
  ended_at bigint
);
create index room_deletions_by_room on room_deletions (room_id);
create index room_deletions_under_way on room_deletions (requested_at) where ended_at is null;
create index room_deletions_ended on room_deletions (ended_at) where ended_at is not null;

-- Clients jump to a date: the events of a room that have a place in its history, by their own time.
create index events_by_time on events (shard, room_nid, origin_server_ts) where chain is not null;

-- Rooms that were removed, as long as rows of them are left in other tables: nobody finds these any more. Written by
-- the owner of the room's shard.
create table room_remains (
  shard smallint not null,
  room_nid bigint not null,
  room_id text collate "C" not null,
  primary key (shard, room_nid)
);
create index room_remains_by_room on room_remains (room_id);
