-- compat: 2
-- Who was there when it was last noted, of this server and of others. It is kept in memory and noted now
-- and then by the main thread: no shard owns it, and what was not noted yet may be lost. Who is offline
-- and left no message has no row.

create table presence (
  user_id text collate "C" primary key,
  presence text collate "C" not null,   -- online, unavailable or offline
  status_msg text collate "C",
  active_at bigint not null             -- when the user last did something; 0: not known
) with (fillfactor = 80);
create index presence_of_present on presence (active_at) where presence <> 'offline';
