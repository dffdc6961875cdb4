-- compat: 2
-- Users to whom an administrator gave limits of their own, and the invites that administrators count.
-- Written by whoever serves the request.

create table rate_limits (
  user_id text collate "C" primary key,
  per_second integer not null,          -- messages; 0: no limit, of anything
  burst integer not null
);

create index state_deltas_invites on state_deltas (shard, room_nid) where new_membership = 'invite';
