-- compat: 2
-- What users report to the administrators. Written by whoever serves the request.

create table reports (
  report_id bigint generated always as identity primary key,
  reported_at bigint not null,
  reporter text collate "C" not null,
  -- an event has its room; a room alone has no event; a user alone has neither
  room_id text collate "C",
  event_id text collate "C",
  user_id text collate "C",
  reason text collate "C" not null
);
