-- compat: 2
-- Pushers, and what they have still to tell. What there is to push is found by one follower on the main
-- thread, which trails the room and user shards: effects and cursor in one transaction. One sender there
-- works the queue off; a row goes when what it says was told.

create table pushers (
  app_id text collate "C" not null,
  pushkey text collate "C" not null,
  user_id text collate "C" not null,
  shard smallint not null,              -- of the user, with the position at which it was set up
  position bigint not null,
  pusher_id bigint generated always as identity,
  created_at bigint not null,           -- the pushkey's own time: another one makes it new
  -- What sender and follower ask first: http has the origin of its address, e-mail ''.
  kind text collate "C" not null check (kind in ('http', 'email')),
  gateway text collate "C" not null,
  device_id text collate "C" not null,  -- it goes with the device; '' of an application service
  app_display_name text collate "C" not null,
  device_display_name text collate "C" not null,
  profile_tag text collate "C",
  lang text collate "C" not null,
  data text collate "C" not null,       -- JSON
  stop_token text collate "C",          -- e-mail: whoever has it may end the pusher
  -- The count that was told last. Written by the sender, outside of the group commit: no stream follows it.
  told_unread integer not null default 0,
  primary key (app_id, pushkey, user_id)
) with (fillfactor = 80);
comment on table pushers is 'Written by the owner of the user''s shard. A pushkey that another user takes over is taken from here by that user''s commit, under an advisory lock on it.';
create unique index pushers_by_number on pushers (pusher_id);
create index pushers_by_user on pushers (user_id);
create index pushers_by_position on pushers (shard, position);

create table push_queue (
  shard smallint not null,              -- of the pusher's user
  pusher_id bigint not null,
  queue_no bigint generated always as identity,
  queued_at bigint not null,
  room_nid bigint,                      -- both null: nothing but the count of what is unread
  event_nid bigint,
  event_position bigint,                -- where it became visible in its room's shard
  actions text collate "C",             -- JSON: what the rule says that matched
  primary key (shard, pusher_id, queue_no)
);

create table push_letters (
  shard smallint not null,              -- of the pusher's user
  pusher_id bigint not null,
  room_nid bigint not null,
  sent_at bigint not null,              -- the last letter with something of this room
  pause_ms bigint not null,             -- none with more of it for so long
  primary key (shard, pusher_id, room_nid)
);

create table push_cursors (
  shard smallint primary key,
  rooms bigint not null,                -- this room shard is followed up to here
  users bigint not null                 -- this user shard
) with (fillfactor = 50);
-- What was there before is not pushed.
insert into push_cursors (shard, rooms, users)
  select r.shard, r.position, u.position from room_shards r join user_shards u using (shard);
