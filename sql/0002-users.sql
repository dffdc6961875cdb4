-- compat: 1
-- What belongs to users: accounts, devices, their data and their streams. Written by the owner of the
-- user's shard (the main thread) in its group commit, unless a table says otherwise. Invariants:
--   * a row of a stream has the (shard, position) of the USER's shard, given out by the commit that
--     writes it; all streams of a shard share one counter, user_shards.position;
--   * where a later row replaces an earlier one it takes a new position, so a reader who passed the
--     old one finds the new one;
--   * no foreign keys. Texts compare by code point.

create table user_shards (
  shard smallint primary key,
  position bigint not null default 0,   -- last committed position of the shard's streams
  batch uuid                            -- the last batch committed, to learn an unknown outcome
) with (fillfactor = 50);

create table user_batches (
  batch uuid primary key,
  noted_at timestamptz not null default now()
);
comment on table user_batches is
  'Batches that are committed, and those that must not be any more: an unknown outcome is learned by noting the batch oneself. Kept for an hour.';
create index user_batches_by_age on user_batches (noted_at);
comment on table user_shards is 'A commit updates the rows of its shards first, in order, and holds them to its end: so commit order is position order, whoever writes.';

-- ---------------------------------------------------------------- accounts

create table users (
  user_id text collate "C" primary key,
  shard smallint not null,
  password_hash text collate "C",       -- argon2id; null: no login by password
  admin boolean not null default false,
  deactivated boolean not null default false,
  created_at bigint not null
);

create table devices (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  display_name text collate "C",
  created_at bigint not null,
  -- Written now and then, outside of the group commit: no stream follows them.
  last_seen_at bigint,
  last_seen_ip text collate "C",
  primary key (shard, user_id, device_id)
);

create table access_tokens (
  token_hash bytea primary key,         -- SHA-256: who reads the database cannot log in
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  created_at bigint not null
);
create index access_tokens_by_device on access_tokens (user_id, device_id);

create table profile_fields (
  shard smallint not null,
  user_id text collate "C" not null,
  name text collate "C" not null,       -- displayname, avatar_url, m.tz, any other
  value text collate "C" not null,      -- JSON
  position bigint not null,
  primary key (shard, user_id, name)
);

-- ---------------------------------------------------------------- what clients keep here

create table account_data (
  shard smallint not null,
  user_id text collate "C" not null,
  room_id text collate "C" not null,    -- '' for global data
  type text collate "C" not null,
  content text collate "C" not null,    -- JSON
  position bigint not null,
  primary key (shard, user_id, room_id, type)
);
create index account_data_by_position on account_data (shard, position);
create index account_data_by_user on account_data (shard, user_id, position);

create table filters (
  user_id text collate "C" not null,
  filter_id text collate "C" not null,  -- made of the hash: the same filter is one filter
  definition text collate "C" not null, -- JSON
  primary key (user_id, filter_id)
);
comment on table filters is 'In no stream and never changed; inserted by main as clients define them.';

create table forgotten_rooms (
  shard smallint not null,
  user_id text collate "C" not null,
  room_id text collate "C" not null,
  member_event text collate "C" not null, -- the leave that was current: a later membership voids the row
  position bigint not null,
  primary key (shard, user_id, room_id)
);
create index forgotten_rooms_by_position on forgotten_rooms (shard, position);

-- ---------------------------------------------------------------- to-device messages, device lists

create table to_device (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,  -- a device of ours; '*' was spread over those of the time
  position bigint not null,
  sender text collate "C" not null,
  type text collate "C" not null,
  content text collate "C" not null,    -- JSON
  primary key (shard, user_id, device_id, position)
);
create index to_device_by_position on to_device (shard, position);

create table received_messages (
  shard smallint not null,
  user_id text collate "C" not null,    -- one row for each user that an EDU names
  origin text collate "C" not null,
  message_id text collate "C" not null,
  received_at bigint not null,
  primary key (shard, user_id, origin, message_id)
);
comment on table received_messages is 'To-device EDUs whose effect is committed: a replay doubles nothing. Old rows are dropped by time.';
create index received_messages_by_time on received_messages (received_at);

-- Devices of users of other servers, by the shard of those users.
create table remote_device_lists (
  shard smallint not null,
  user_id text collate "C" not null,
  stream_id bigint not null,            -- the newest update that was seen
  stale boolean not null,               -- an update was missed: the list must be asked for
  position bigint not null,
  primary key (shard, user_id)
);
create index remote_device_lists_by_position on remote_device_lists (shard, position);

create table remote_devices (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  stream_id bigint not null,
  deleted boolean not null,
  content text collate "C" not null,    -- the update, JSON: display name and keys
  primary key (shard, user_id, device_id)
);

-- ---------------------------------------------------------------- directory
-- In no stream and of no shard: written by main, a row at a time.

create table room_aliases (
  alias text collate "C" primary key,
  room_id text collate "C" not null,
  creator text collate "C" not null,
  created_at bigint not null
);
create index room_aliases_by_room on room_aliases (room_id);

create table published_rooms (
  room_id text collate "C" primary key,
  published_at bigint not null
);

insert into user_shards (shard) select generate_series(0, 63);
