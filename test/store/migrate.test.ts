import { afterAll, expect, test } from 'bun:test'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openPool, withDatabase } from '#store/db.ts'
import { migrate, readMigrations, requireServer } from '#store/migrate.ts'
import { StartupError } from '#store/startup-error.ts'
import { openEmptyDatabase, openTestDatabase } from '#test/database.ts'
import { freePorts } from '#test/laneway.ts'
import { newFolder } from '#test/folder.ts'

const folders: string[] = []
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true })
})

/** A folder of migrations: what a release ships. */
async function releaseOf(files: Record<string, string>): Promise<string> {
  const folder = await newFolder('sql')
  folders.push(folder)
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
  return folder
}

const first = { '0001-rooms.sql': '-- Rooms.\n-- compat: 1\n\ncreate table rooms (id integer);' }
const second = {
  ...first,
  '0002-users.sql': '-- compat: 1\ncreate table users (id integer); insert into users values (7);',
}
const breaking = { ...second, '0003-drop.sql': '-- compat: 3\ndrop table rooms;' }
const afterBreaking = {
  ...breaking,
  '0004-more.sql': '-- compat: 3\ncreate table more (id integer);',
}

test('an empty database gets every migration, and a second start changes nothing', async () => {
  await using db = await openEmptyDatabase()
  const folder = await releaseOf(second)
  expect(await migrate(db.pool, folder, '0.2.0')).toEqual({ version: 2, compat: 1 })
  expect(await migrate(db.pool, folder, '0.2.1')).toEqual({ version: 2, compat: 1 })
  expect(
    await db.pool`select version, compat, name, release from schema_version order by version`,
  ).toEqual([
    { version: 1, compat: 1, name: 'rooms', release: '0.2.0' },
    { version: 2, compat: 1, name: 'users', release: '0.2.0' },
  ] as never)
  expect(await db.pool`select id from users`).toMatchObject([{ id: 7 }])
})

test('the database of the release before is brought forward with its data', async () => {
  await using db = await openEmptyDatabase()
  await migrate(db.pool, await releaseOf(first), '0.1.0')
  await db.pool`insert into rooms values (42)`
  expect(await migrate(db.pool, await releaseOf(second), '0.2.0')).toEqual({
    version: 2,
    compat: 1,
  })
  expect(await db.pool`select id from rooms`).toMatchObject([{ id: 42 }])
  expect(await db.pool`select id from users`).toMatchObject([{ id: 7 }])
})

test('a compatible database of the release after is accepted as it is', async () => {
  await using db = await openEmptyDatabase()
  await migrate(db.pool, await releaseOf(second), '0.2.0')
  expect(await migrate(db.pool, await releaseOf(first), '0.1.0')).toEqual({ version: 2, compat: 1 })
  expect(await db.pool`select id from users`).toMatchObject([{ id: 7 }])
})

test('an incompatible database of the release after is refused, naming the releases that fit', async () => {
  await using db = await openEmptyDatabase()
  await migrate(db.pool, await releaseOf(breaking), '0.3.0')
  await migrate(db.pool, await releaseOf(afterBreaking), '0.4.0')
  const refused = migrate(db.pool, await releaseOf(second), '0.2.0')
  await expect(refused).rejects.toThrow(StartupError)
  await expect(refused).rejects.toThrow(
    'The database is too new for this Laneway: it has schema 4, made by release 0.4.0, and needs ' +
      'a release that knows schema 3; this one, 0.2.0, knows schema 2. Releases from 0.3.0 on would work.',
  )
  expect(await migrate(db.pool, await releaseOf(breaking), '0.3.0')).toEqual({
    version: 4,
    compat: 3,
  })
})

test('a migration that fails leaves nothing of itself, and the ones before it stay', async () => {
  await using db = await openEmptyDatabase()
  const broken = {
    ...first,
    '0002-broken.sql': '-- compat: 1\ncreate table half (id integer); select 1/0;',
  }
  await expect(migrate(db.pool, await releaseOf(broken), '0.2.0')).rejects.toThrow(
    'The migration to schema 2, broken, failed: division by zero',
  )
  expect(
    await db.pool`select to_regclass('half') as half, to_regclass('rooms')::text as rooms`,
  ).toEqual([{ half: null, rooms: 'rooms' }] as never)
  expect(await migrate(db.pool, await releaseOf(second), '0.2.1')).toEqual({
    version: 2,
    compat: 1,
  })
})

test('four servers that start at once apply each migration once', async () => {
  await using db = await openEmptyDatabase()
  const folder = await releaseOf(second)
  const states = await Promise.all(
    Array.from({ length: 4 }, () => migrate(db.pool, folder, '0.2.0')),
  )
  expect(states).toEqual(Array.from({ length: 4 }, () => ({ version: 2, compat: 1 })))
  expect(await db.pool`select id from users`).toHaveLength(1)
})

test.each([
  ['a gap in the numbers', { ...first, '0003-x.sql': '-- compat: 1\n' }, 'next number, 2'],
  ['a name of another form', { '1-rooms.sql': '-- compat: 1\n' }, 'NNNN-name.sql'],
  ['no compat', { '0001-rooms.sql': '-- Rooms.\nselect 1;\n' }, "no '-- compat: N'"],
  ['a compat below the header', { '0001-r.sql': 'select 1;\n-- compat: 1\n' }, "no '-- compat: N'"],
  ['a compat of the future', { '0001-rooms.sql': '-- compat: 2\n' }, 'N from 1 to 1'],
  ['a compat that falls', { ...breaking, '0004-x.sql': '-- compat: 2\n' }, 'smaller compat'],
])('%s among the files is an error', async (_, files, message) => {
  await expect(releaseOf(files as never).then(readMigrations)).rejects.toThrow(message)
})

test('the migrations of this code are in order', async () => {
  const folder = Bun.fileURLToPath(new URL('../../sql', import.meta.url))
  const migrations = await readMigrations(folder)
  await using db = await openTestDatabase()
  expect(await db.pool`select version from schema_version`).toHaveLength(migrations.length)
})

test('a server older than PostgreSQL 15 is refused', () => {
  const server = { number: 140_011, version: '14.11', encoding: 'UTF8', standby: false }
  expect(() => requireServer(server)).toThrow(
    'PostgreSQL 14.11 is too old: Laneway needs version 15',
  )
  expect(() => requireServer({ ...server, number: 150_000 })).not.toThrow()
})

test('a standby is refused', () => {
  const server = { number: 160_000, version: '16.0', encoding: 'UTF8', standby: true }
  expect(() => requireServer(server)).toThrow('read-only standby')
})

test('a database that is not UTF8 is refused', async () => {
  await using db = await openEmptyDatabase(
    "encoding 'SQL_ASCII' locale_provider libc locale 'C' template template0",
  )
  const refused = migrate(db.pool, await releaseOf(first), '0.1.0')
  await expect(refused).rejects.toThrow('encoding SQL_ASCII, and Laneway needs UTF8')
  expect(await db.pool`select to_regclass('schema_version') as name`).toMatchObject([
    { name: null },
  ])
})

test('a server or a database that is not there is one clear message', async () => {
  await using db = await openEmptyDatabase()
  const folder = await releaseOf(first)
  const [closed] = await freePorts(1)
  for (const [url, reason] of [
    [
      `postgres://laneway@127.0.0.1:${closed}/laneway`,
      /cannot be reached: .*ECONNREFUSED|cannot be reached: .*connect/i,
    ],
    [withDatabase(db.url, 'no_such_database'), /cannot be reached: .*no_such_database/],
  ] as const) {
    const pool = openPool(url, { max: 1 })
    const refused = migrate(pool, folder, '0.1.0')
    await expect(refused).rejects.toThrow(StartupError)
    await expect(refused).rejects.toThrow(reason)
    await pool.end()
  }
})
