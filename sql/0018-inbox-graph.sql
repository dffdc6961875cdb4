-- compat: 2
-- What thinning a room's inbox asks of its rows. Written by the intake with the row while the room is
-- behind, and null elsewhere: such rows are never dropped.

alter table inbox
  add column event_id text collate "C",
  add column prev_events text[] collate "C",
  add column is_state boolean;          -- state, and not somebody's own join
