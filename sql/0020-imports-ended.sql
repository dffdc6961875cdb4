-- compat: 2
-- What is still to be done of imports that were aborted or undone. The owner of the shard goes on with it
-- after a restart. A session is `undoing` until its chain is hidden, and `undone` from then on.

alter table import_sessions
  -- Its records, and events that nobody ever saw, are still to be dropped.
  add column untidied boolean not null default false,
  -- Of what other servers saw, what lies behind this index of the chain is still to be redacted; null: nothing.
  add column take_back_after integer;
create index import_sessions_ended on import_sessions (shard, session_nid)
  where untidied or take_back_after is not null or state = 'undoing';
update import_sessions set untidied = true where state in ('aborted', 'undone');
