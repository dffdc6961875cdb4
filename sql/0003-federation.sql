-- compat: 2
-- Federation: keys, what is known of other servers, and what waits to be sent to them. Written
-- by the federation worker, unless a table says otherwise.

-- ---------------------------------------------------------------- keys

create table signing_keys (
  key_id text collate "C" primary key,  -- `ed25519:…`
  seed bytea not null,
  created_ts bigint not null,
  expired_ts bigint                     -- null: signs; else served as an old key
);
comment on table signing_keys is 'Our own keys. Written by main, at the first start and by a rotation.';

create table server_keys (
  server text collate "C" not null,
  key_id text collate "C" not null,
  key text collate "C" not null,        -- unpadded base64
  valid_until_ts bigint not null,       -- as the server said, at most 7 days after it was fetched
  expired_ts bigint,                    -- an old key: good for events up to here
  primary key (server, key_id)
);

create table server_key_documents (
  server text collate "C" primary key,
  json text collate "C" not null,       -- as the server signed it; what a notary signs in turn
  valid_until_ts bigint not null,
  fetched_at bigint not null
);

-- ---------------------------------------------------------------- other servers

create table destinations (
  server text collate "C" primary key,
  failing_since bigint,                 -- null: the last request was answered
  failures integer not null default 0,
  retry_at bigint not null default 0,
  last_success bigint                   -- refreshed by the hour only
);

-- ---------------------------------------------------------------- outbox
-- The outbox trails the positions of room shards. It holds no events: a line for each event of ours,
-- and for each destination and room the stretch of these lines that it has not got yet.

create table outbox_cursors (
  shard smallint primary key,
  position bigint not null default 0
);

create table outbox_events (
  shard smallint not null,
  room_nid bigint not null,
  position bigint not null,
  event_nid bigint not null,
  set_nid bigint not null,              -- the destination_set of the event
  extra text[] collate "C",             -- servers beside it, such as that of a user whose invite is taken back
  primary key (shard, room_nid, position)
);

create table outbox_rooms (
  server text collate "C" not null,
  shard smallint not null,
  room_nid bigint not null,
  first_position bigint not null,       -- the first event not yet sent
  last_position bigint not null,        -- the last event to be sent
  primary key (server, shard, room_nid)
) with (fillfactor = 80);
create index outbox_rooms_by_room on outbox_rooms (shard, room_nid);

create table outbox_edus (
  edu_id bigint generated always as identity primary key,
  server text collate "C" not null,
  json text collate "C" not null
);
comment on table outbox_edus is 'EDUs that must not be lost. Inserted by the owners of user shards.';
create index outbox_edus_by_server on outbox_edus (server, edu_id);

-- The transaction in flight to a destination, made durable before it is sent and repeated as it is.
create table outbox_txns (
  server text collate "C" primary key,
  txn_id text collate "C" not null,
  origin_server_ts bigint not null,
  shards smallint[] not null,           -- its PDUs, in order
  event_nids bigint[] not null,
  edus text collate "C" not null,       -- its EDUs, a JSON list
  edu_ids bigint[] not null,            -- those of them that stand in outbox_edus
  -- what it brings the destination up to: rooms, and the position after the last one sent
  room_shards smallint[] not null,
  room_nids bigint[] not null,
  room_positions bigint[] not null
);

insert into outbox_cursors (shard) select generate_series(0, 63);
