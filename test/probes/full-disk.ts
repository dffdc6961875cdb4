import { migrate } from '#store/migrate.ts'
import { openPool, withDatabase } from '#store/db.ts'
import { type TestDatabase, openTestDatabase } from '#test/database.ts'
import { newFolder } from '#test/folder.ts'

/** A database whose disk can be full, and have room again. */
export type Disk = { database: TestDatabase; fill(): Promise<void>; free(): Promise<void> }

/** A database that says of every write that its disk is full, when it is told to. */
export async function openRefusing(): Promise<Disk> {
  const database = await openTestDatabase()
  const { pool } = database
  await pool.unsafe(`
    create table disk_full ();
    create function refuse() returns trigger language plpgsql as $$ begin
      if exists (select from disk_full) then
        raise exception 'could not extend file "base/5/7": No space left on device'
          using errcode = 'disk_full', hint = 'Check free disk space.';
      end if;
      return null;
    end $$`)
  const tables = await pool<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'disk_full'`
  await pool.unsafe(
    tables
      .map(
        ({ name }) => `create trigger full_disk before insert or update or delete on ${name}
          for each statement execute function refuse();`,
      )
      .join('\n'),
  )
  return {
    database,
    fill: async () => void (await pool`insert into disk_full default values`),
    free: async () => void (await pool`delete from disk_full`),
  }
}

/** Whether this machine lets us have a disk of our own. */
export const canMount =
  Bun.which('unshare') !== null &&
  Bun.spawnSync({
    cmd: ['unshare', '--map-root-user', '--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'],
    stdout: 'ignore',
    stderr: 'ignore',
  }).success

/** A database on a small disk, which is really full when it is. */
export async function openSmall(): Promise<Disk> {
  const folder = await newFolder('small-disk')
  const script = Bun.fileURLToPath(new URL('./small-disk.ts', import.meta.url))
  const child = Bun.spawn({
    cmd: ['unshare', '--map-root-user', '--mount', process.execPath, script, folder],
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const { value } = await child.stdout.getReader().read()
  const { url: server, place } = JSON.parse(new TextDecoder().decode(value)) as {
    url: string
    place: string
  }
  const administrator = openPool(withDatabase(server, 'postgres'), { max: 1 })
  await administrator.unsafe(`create tablespace small location '${place}'`)
  await administrator.unsafe(
    `create database small template template0 encoding 'UTF8' tablespace small strategy file_copy`,
  )
  await administrator.end()
  const url = withDatabase(server, 'small')
  const pool = openPool(url, { max: 4 })
  await migrate(pool, Bun.fileURLToPath(new URL('../../sql', import.meta.url)), 'test')
  const close = async () => {
    await pool.end({ timeout: 1 })
    await child.stdin.end()
    await child.exited
  }
  return {
    database: { url, pool, close, [Symbol.asyncDispose]: close },
    async fill() {
      await pool`create table ballast (page text)`
      await pool`alter table ballast alter page set storage plain`
      for (let rows = 1000; rows >= 1;) {
        try {
          await pool`insert into ballast select repeat('x', 8000) from generate_series(1, ${rows}::int)`
        } catch (error) {
          if ((error as { code?: string }).code !== '53100') throw error
          rows = Math.floor(rows / 10)
        }
      }
    },
    free: async () => void (await pool`drop table ballast`),
  }
}
