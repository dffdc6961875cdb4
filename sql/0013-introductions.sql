-- compat: 2
-- How far it is known which local users came to which rooms: servers there that had no updates of their
-- devices get one. Moved by the main thread when they are in the queues of those servers. Who comes later
-- than a cursor is looked at again after a restart, so nobody is forgotten.

create table introduction_cursors (
  shard smallint primary key,           -- of rooms
  position bigint not null
) with (fillfactor = 50);
insert into introduction_cursors (shard, position) select shard, position from room_shards;
