-- compat: 2
-- What application services are still to be sent. One follower on the main thread trails the room and user
-- shards for all of them and queues, together with its cursors, what interests each; one sender there puts
-- transactions together: one that is in flight is here as it is sent, and what it brings has left the queue.

create table appservices (
  appservice_nid integer generated always as identity primary key,
  id text collate "C" not null unique,  -- as in its registration
  created_at bigint not null,           -- in each transaction ID: those of another database are others
  next_txn bigint not null default 1,
  -- Whether it is to be sent anything: one without an address is when it has connected once.
  follows boolean not null,
  failures integer not null default 0,  -- in a row; it is left alone until retry_at
  retry_at bigint not null default 0
) with (fillfactor = 50);

create table appservice_cursors (
  shard smallint primary key,
  rooms bigint not null,                -- this room shard is followed up to here
  users bigint not null                 -- this user shard
) with (fillfactor = 50);
comment on table appservice_cursors is 'Empty while nobody follows: what comes until somebody does is not sent.';

create table appservice_queue (
  appservice_nid integer not null,
  queue_no bigint generated always as identity,
  queued_at bigint not null,
  shard smallint not null,
  event_nid bigint not null,
  primary key (appservice_nid, queue_no)
);

-- Of receipts and device lists only the newest counts: a row says that it is to be read and sent.
create table appservice_receipts (
  appservice_nid integer not null,
  shard smallint not null,              -- of the user
  room_id text collate "C" not null,
  user_id text collate "C" not null,
  type text collate "C" not null,
  thread_id text collate "C" not null,
  mark bigint not null,                 -- the receipt's position: another one means that it moved meanwhile
  primary key (appservice_nid, room_id, user_id, type, thread_id)
);

create table appservice_lists (
  appservice_nid integer not null,
  user_id text collate "C" not null,
  left_rooms boolean not null,          -- no room is shared any more; else the list changed
  mark bigint generated always as identity,
  primary key (appservice_nid, user_id)
);

-- The transaction in flight, repeated letter by letter until it is taken.
create table appservice_txns (
  appservice_nid integer primary key,
  txn_id text collate "C" not null,
  body text collate "C" not null,       -- JSON
  events integer not null,
  made_at bigint not null
);

-- Rooms in the directories of third-party networks. Written by whoever serves the request.
create table network_rooms (
  appservice_id text collate "C" not null,
  network_id text collate "C" not null,
  room_id text collate "C" not null,
  published_at bigint not null,
  primary key (appservice_id, network_id, room_id)
);
create index network_rooms_by_room on network_rooms (room_id);
