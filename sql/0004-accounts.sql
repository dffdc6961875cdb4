-- compat: 2
-- Accounts: what is beyond a name, a password and a device. Written by the owner of the user's shard,
-- like everything of 0002-users.sql, unless a table says otherwise. Whatever proves who somebody is
-- (tokens, secrets) is kept as its SHA-256: who reads the database can do nothing with it.

-- ---------------------------------------------------------------- accounts

alter table users
  add column guest boolean not null default false,
  add column locked boolean not null default false,
  add column suspended boolean not null default false,
  -- Wanted to be erased when the account was deactivated: those who join a room later are shown
  -- redacted copies of what the user sent.
  add column erased boolean not null default false,
  add column agreed text collate "C";   -- JSON: the policies agreed to at registration, with versions
create index users_erased on users (user_id) where erased;
create index users_guests on users (user_id) where guest;

create table departures (
  user_id text collate "C" primary key,
  shard smallint not null
);
comment on table departures is 'Deactivated users who have rooms left to leave; the row goes when there is none.';

create table user_threepids (
  medium text collate "C" not null,
  address text collate "C" not null,    -- lower case
  user_id text collate "C" not null,
  validated_at bigint not null,
  added_at bigint not null,
  primary key (medium, address)
);
create index user_threepids_by_user on user_threepids (user_id);

-- ---------------------------------------------------------------- sessions

alter table access_tokens
  add column expires_at bigint,         -- null: it does not
  add column refresh_hash bytea,        -- the refresh token that was given out with it
  -- When whoever holds it last proved who they are; written by main, outside of the group commit.
  add column authenticated_at bigint;
create index access_tokens_by_refresh on access_tokens (refresh_hash) where refresh_hash is not null;

create table refresh_tokens (
  token_hash bytea primary key,
  shard smallint not null,
  user_id text collate "C" not null,
  device_id text collate "C" not null,
  created_at bigint not null,
  -- The one that it replaces, which is good until this one, or the access token with it, is used.
  parent_hash bytea
);
create index refresh_tokens_by_device on refresh_tokens (user_id, device_id);
create index refresh_tokens_by_parent on refresh_tokens (parent_hash) where parent_hash is not null;

-- ---------------------------------------------------------------- proofs
-- In no stream and of no shard: written by main, a row at a time; old rows are dropped by time.

create table uia_sessions (
  session_id text collate "C" primary key,
  -- Whose session, for which operation, at which method and path: good for nothing else.
  user_id text collate "C" not null,    -- '' for nobody
  operation text collate "C" not null,
  completed text collate "C" not null,  -- JSON: what each stage that is done has proved
  registration_token text collate "C",  -- held until the session is over
  expires_at bigint not null
);
create index uia_sessions_by_expiry on uia_sessions (expires_at);
create index uia_sessions_by_token on uia_sessions (registration_token)
  where registration_token is not null;

create table threepid_validations (
  sid text collate "C" primary key,
  medium text collate "C" not null,
  address text collate "C" not null,
  purpose text collate "C" not null,    -- what it may be used for: register, add or password
  client_secret text collate "C" not null,
  send_attempt bigint not null,
  token_hash bytea,                     -- null: there is nothing to prove, and never will be
  next_link text collate "C",
  attempts integer not null default 0,  -- wrong tokens
  validated_at bigint,
  expires_at bigint not null,
  unique (purpose, medium, address, client_secret)
);
create index threepid_validations_by_expiry on threepid_validations (expires_at);

create table registration_tokens (
  token text collate "C" primary key,   -- shown to administrators, so it is kept as it is
  uses_allowed integer,                 -- null: any number
  completed integer not null default 0,
  expires_at bigint,
  created_at bigint not null
);

create table login_tokens (
  token_hash bytea primary key,
  user_id text collate "C" not null,
  expires_at bigint not null
);
create index login_tokens_by_expiry on login_tokens (expires_at);
create index login_tokens_by_user on login_tokens (user_id);

create table openid_tokens (
  token_hash bytea primary key,
  user_id text collate "C" not null,
  expires_at bigint not null
);
create index openid_tokens_by_expiry on openid_tokens (expires_at);
create index openid_tokens_by_user on openid_tokens (user_id);
