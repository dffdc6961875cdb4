-- compat: 2
-- Media: what was uploaded here, what was fetched from other servers, and what was made of either. The
-- bytes are not in the database but in files, each named by its SHA-256; a file that exists has a row
-- here, made before it. Written by the main thread: no shard owns any of it.

create table media_files (
  sha256 bytea primary key,
  bytes bigint not null,
  -- Until then the file stays, since somebody is about to need it; after it, the sweep finds out
  -- whether anybody does. Null: there is no reason to look.
  look_at bigint,
  quarantined_by text collate "C",      -- an administrator: nobody gets it, under any name, old or new
  protected boolean not null default false -- not to be quarantined
);
create index media_files_to_look_at on media_files (look_at) where look_at is not null;

create table media (
  server_name text collate "C" not null,
  media_id text collate "C" not null,
  -- Who uploaded it. Null: it is another server's, or the picture of a URL preview.
  user_id text collate "C",
  sha256 bytea,                         -- null: created, and not yet uploaded
  content_type text collate "C" not null,
  file_name text collate "C",
  created_at bigint not null,           -- when it was uploaded here, or fetched from its server
  -- Not yet uploaded: then its ID is good for nothing. The picture of a preview: then it goes.
  expires_at bigint,
  used_at bigint not null,              -- of what can be had again: roughly when it was last asked for
  primary key (server_name, media_id)
);
create index media_of_user on media (user_id, created_at) where user_id is not null;
create index media_pending on media (user_id) where sha256 is null;
create index media_of_file on media (sha256) where sha256 is not null;
create index media_expiring on media (expires_at) where expires_at is not null;
create index media_fetched on media (used_at) where user_id is null;

create table media_thumbnails (
  sha256 bytea not null,                -- of what it was made from
  width integer not null,               -- as asked for; the thumbnail may be larger or smaller
  height integer not null,
  method text collate "C" not null check (method in ('crop', 'scale')),
  animated boolean not null,
  content_type text collate "C" not null,
  thumbnail_sha256 bytea not null,      -- that of the original, where a thumbnail would be no smaller
  primary key (sha256, width, height, method, animated)
);
create index media_thumbnails_of_file on media_thumbnails (thumbnail_sha256);

create table url_previews (
  url text collate "C" primary key,
  json text collate "C" not null,       -- as clients get it
  fetched_at bigint not null
);
create index url_previews_by_age on url_previews (fetched_at);
