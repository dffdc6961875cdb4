-- compat: 2
-- End-to-end encryption: what devices and users publish, and what they leave with us. Written by the
-- owner of the user's shard, like everything of 0002-users.sql.

-- ---------------------------------------------------------------- keys of devices

create table device_keys (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  json text collate "C" not null,       -- as uploaded
  position bigint not null,
  primary key (shard, user_id, device_id)
);

create table one_time_keys (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  algorithm text collate "C" not null,
  key_id text collate "C" not null,
  json text collate "C" not null,
  position bigint not null,             -- of its upload: keys are given out in this order
  -- Given out. The row stays for a month: an upload that is repeated must not bring the key back.
  claimed_at bigint,
  primary key (shard, user_id, device_id, algorithm, key_id)
);
create index one_time_keys_free
  on one_time_keys (shard, user_id, device_id, algorithm, position, key_id) where claimed_at is null;
create index one_time_keys_claimed on one_time_keys (claimed_at) where claimed_at is not null;

create table fallback_keys (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  algorithm text collate "C" not null,
  key_id text collate "C" not null,
  json text collate "C" not null,
  used boolean not null,
  primary key (shard, user_id, device_id, algorithm)
);

-- ---------------------------------------------------------------- keys of users

-- Also those of users of other servers whose device list is kept here.
create table cross_signing_keys (
  shard smallint not null,
  user_id text collate "C" not null,
  usage text collate "C" not null check (usage in ('master', 'self_signing', 'user_signing')),
  public_key text collate "C" not null, -- unpadded base64
  json text collate "C" not null,       -- as uploaded; user_signing is shown to its user alone
  primary key (shard, user_id, usage)
);

create table key_signatures (
  shard smallint not null,              -- of the signer
  signer text collate "C" not null,
  target_user text collate "C" not null,
  target_key text collate "C" not null, -- a device ID, or the public key of a master key
  key_id text collate "C" not null,     -- which key of the signer's: `ed25519:…`
  signature text collate "C" not null,
  position bigint not null,
  primary key (shard, signer, target_user, target_key, key_id)
);
create index key_signatures_by_position on key_signatures (shard, position);
comment on table key_signatures is 'Signatures that came after what they sign. Those over the keys of somebody else are shown to the signer alone.';

-- ---------------------------------------------------------------- device lists

create table device_lists (
  shard smallint not null,
  user_id text collate "C" not null,
  stream_id bigint not null,            -- of the last m.device_list_update: the prev_id of the next
  position bigint not null,             -- of the last change of devices, their names and keys
  primary key (shard, user_id)
);
comment on table device_lists is 'Of local users. Those of others are remote_device_lists.';
create index device_lists_by_position on device_lists (shard, position);

-- A list that is kept is good as long as its server has to tell us of changes: as long as the user's
-- membership in one room, the anchor, is the one of the time when the list was fetched.
alter table remote_device_lists
  alter column stream_id drop not null, -- null: the list is kept, and no update has been seen
  add column cached boolean not null default false, -- remote_devices has the whole list
  add column anchor_shard smallint,
  add column anchor_room bigint,
  add column anchor_generation bigint,
  add column anchor_position bigint,
  -- Of a list that is kept and stale: how often it was asked for in vain, and when to ask again.
  add column failures integer not null default 0,
  add column retry_at bigint not null default 0;
alter table remote_devices drop column stream_id, drop column deleted;
create index remote_device_lists_stale on remote_device_lists (retry_at) where stale and cached;

-- ---------------------------------------------------------------- key backups

create table key_backups (
  shard smallint not null,
  user_id text collate "C" not null,
  version bigint not null,              -- from 1; never given out twice
  algorithm text collate "C" not null,
  auth_data text collate "C" not null,       -- JSON
  etag bigint not null,                 -- grows with every change of the keys
  key_count bigint not null,
  deleted boolean not null,
  primary key (shard, user_id, version)
);

create table backed_up_keys (
  shard smallint not null,
  user_id text collate "C" not null,
  version bigint not null,
  room_id text collate "C" not null,
  session_id text collate "C" not null,
  is_verified boolean not null,
  first_message_index bigint not null,
  forwarded_count bigint not null,
  session_data text collate "C" not null,       -- JSON
  primary key (shard, user_id, version, room_id, session_id)
);

-- ---------------------------------------------------------------- dehydrated devices (MSC3814)

create table dehydrated_devices (
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,  -- has a row in devices, too
  device_data text collate "C" not null,       -- JSON, opaque to us
  primary key (shard, user_id)
);
