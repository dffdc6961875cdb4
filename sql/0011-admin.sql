-- compat: 2
-- The place of a part whose tables are still to come.
select 1;
