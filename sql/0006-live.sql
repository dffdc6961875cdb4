-- compat: 2
-- How far users have read. A row has the (shard, position) of its user's shard, as in 0002-users.sql.

create table receipts (
  shard smallint not null,              -- of the user, who may be of another server
  user_id text collate "C" not null,
  room_id text collate "C" not null,
  -- m.read, m.read.private; and m.fully_read, which is account data and kept here to know its place
  type text collate "C" not null,
  thread_id text collate "C" not null,  -- '': unthreaded; main; or the root's event ID
  event_id text collate "C" not null,
  -- where the event, or the nearest live one before it, stands in the room's shard; null: not known here
  event_position bigint,
  ts bigint not null,
  position bigint not null,
  primary key (shard, user_id, room_id, type, thread_id)
) with (fillfactor = 80);
create index receipts_by_position on receipts (shard, position);
create index receipts_by_room on receipts (room_id, shard, position);
