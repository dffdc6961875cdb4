import { expect, test } from 'bun:test'
import { eventFlags } from '#store/room/batch.ts'
import { testDatabase } from '#test/database.ts'

const { pool: sql } = await testDatabase()

/** Of our tables, not of PostgreSQL's. */
const ours = sql`n.nspname = 'public' and c.relkind in ('r', 'p')`

test('every text compares by code point, whatever the database was made with', async () => {
  const others = await sql<{ name: string }[]>`
    select c.relname || '.' || a.attname as name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_collation k on k.oid = a.attcollation
    where ${ours} and a.attcollation <> 0 and k.collname is distinct from 'C'`
  expect(others.map(({ name }) => name)).toEqual([])
})

test('JSON is kept as the text that came', async () => {
  const binary = await sql<{ name: string }[]>`
    select c.relname || '.' || a.attname as name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where ${ours} and a.atttypid in ('jsonb'::regtype, 'json'::regtype)`
  expect(binary.map(({ name }) => name)).toEqual([])
})

test('no table points to a row of another owner', async () => {
  const pointing = await sql<{ name: string }[]>`
    select conrelid::regclass::text as name from pg_constraint where contype = 'f'`
  expect(pointing.map(({ name }) => name)).toEqual([])
})

test('tables of rooms and events carry the shard in front of their keys', async () => {
  const keys = await sql<{ name: string; first: string }[]>`
    select c.relname as name, a.attname as first
    from pg_index i
    join pg_class c on c.oid = i.indrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
    where ${ours} and i.indisprimary
      and exists (
        select from pg_attribute o
        where o.attrelid = c.oid and o.attname in ('room_nid', 'event_nid', 'event_nids'))`
  const odd = keys.filter(({ first }) => first !== 'shard').map(({ name }) => name)
  // The one look-up across shards, and the queues of others, which have rooms of all shards.
  expect(odd.sort()).toEqual(['appservice_queue', 'event_ids', 'outbox_rooms', 'outbox_txns'])
  expect(keys.length).toBeGreaterThan(15)
})

test('rooms, events and snapshots can be partial', async () => {
  const flags = await sql<{ name: string }[]>`
    select c.relname as name
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid
    where ${ours} and a.attname = 'partial' order by 1`
  expect(flags.map(({ name }) => name)).toEqual(['rooms', 'snapshots'])
  expect(eventFlags.partial).toBe(8)
})
