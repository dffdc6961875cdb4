import { afterAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readFile,
  readdir,
  readlink,
  rm,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import { openPool } from '#store/db.ts'
import { completeLinks } from '#store/embedded/binaries.ts'
import { type EmbeddedOptions, startEmbedded } from '#store/embedded/start.ts'
import { StartupError } from '#store/startup-error.ts'
import { newFolder } from '#test/folder.ts'
import { until } from '#test/until.ts'

const log = pino({ level: 'silent' })
const root = process.getuid!() === 0
const parent = await newFolder('embedded')
afterAll(() => rm(parent, { recursive: true }))

let count = 0
const nextFolder = () => join(parent, String(++count))
const start = (dataDir: string, more: Partial<EmbeddedOptions> = {}) =>
  startEmbedded({ dataDir, log, durable: false, ...more })

/** A data directory that was used before: made once, and copied. */
const seed = nextFolder()
await (await start(seed)).stop()
async function usedFolder(folder = nextFolder()): Promise<string> {
  await Bun.$`cp -a ${seed} ${folder}`
  return folder
}

/** Asks once, on a connection of its own. */
async function ask(url: string, statement: string): Promise<Record<string, unknown>[]> {
  const sql = openPool(url, { max: 1 })
  try {
    return [...(await sql.unsafe(statement))]
  } finally {
    await sql.end()
  }
}

/** A process of its own with an embedded PostgreSQL in it. */
async function startProcess(options: object, user?: number) {
  const child = Bun.spawn({
    cmd: [process.execPath, join(import.meta.dir, 'server.ts'), JSON.stringify(options)],
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    ...(user !== undefined && { uid: user, gid: user }),
  })
  const reader = child.stdout.getReader()
  const { value } = await reader.read()
  const text = new TextDecoder().decode(value)
  if (!text) throw new Error(await new Response(child.stderr).text())
  return { child, ...(JSON.parse(text) as { url: string; pid: number }) }
}

/** An orphan that ended stays in the table of processes until somebody collects it. */
const isAlive = (pid: number): boolean => {
  try {
    const state = /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return state !== 'Z' && state !== 'X'
  } catch {
    return false
  }
}

test('the first start makes a durable database on a unix socket, the second one finds it', async () => {
  const dataDir = nextFolder()
  const first = await startEmbedded({ dataDir, log })
  const settings = [
    'fsync',
    'data_checksums',
    'listen_addresses',
    'server_encoding',
    'full_page_writes',
  ]
  const [row] = await ask(
    first.url,
    `select ${settings.map((name) => `current_setting('${name}') as ${name}`).join()},
      datlocprovider::text, datlocale, datcollate from pg_database where datname = current_database()`,
  )
  expect(row).toEqual({
    fsync: 'on',
    data_checksums: 'on',
    listen_addresses: '',
    server_encoding: 'UTF8',
    full_page_writes: 'on',
    datlocprovider: 'b',
    datlocale: 'C.UTF-8',
    datcollate: 'C',
  })
  await ask(first.url, 'create table kept as select 42 as answer')
  await first.stop()
  await first.exited

  const second = await start(dataDir)
  expect(await ask(second.url, 'select answer from kept')).toEqual([{ answer: 42 }])
  await second.stop()
  expect(isAlive(second.pid!)).toBe(false)
})

test('every file in the data directory is ours, and closed to others', async () => {
  const dataDir = await usedFolder()
  const postgres = await start(dataDir)
  const files = await readdir(dataDir, { recursive: true })
  const owners = new Set(
    await Promise.all(files.map(async (file) => (await lstat(join(dataDir, file))).uid)),
  )
  expect([...owners]).toEqual([process.getuid!()])
  expect((await lstat(dataDir)).mode & 0o077).toBe(0)
  await postgres.stop()
})

test('a second server on the same data directory is refused while the first one runs', async () => {
  const dataDir = await usedFolder()
  const { child, url } = await startProcess({ dataDir, durable: false })
  const refused = start(dataDir)
  await expect(refused).rejects.toThrow(StartupError)
  await expect(refused).rejects.toThrow('Another Laneway is running on this data directory')
  expect(await ask(url, 'select 1 as one')).toEqual([{ one: 1 }])
  await child.stdin.end()
  expect(await child.exited).toBe(0)
  await (await start(dataDir)).stop()
})

test('a killed server takes PostgreSQL with it, and what it committed is there again', async () => {
  const dataDir = await usedFolder()
  const { child, url, pid } = await startProcess({ dataDir })
  await ask(url, 'create table kept as select 1 as answer')
  child.kill('SIGKILL')
  await child.exited
  const again = await start(dataDir)
  expect(isAlive(pid)).toBe(false)
  expect(await ask(again.url, 'select answer from kept')).toEqual([{ answer: 1 }])
  await again.stop()
})

test('a PostgreSQL that outlived its server is stopped by the next start', async () => {
  const dataDir = await usedFolder()
  const { child, url, pid } = await startProcess({ dataDir, launch: { dieWithParent: false } })
  await ask(url, 'create table kept as select 1 as answer')
  child.kill('SIGKILL')
  await child.exited
  expect(isAlive(pid)).toBe(true)
  const again = await start(dataDir)
  expect(isAlive(pid)).toBe(false)
  expect(await ask(again.url, 'select answer from kept')).toEqual([{ answer: 1 }])
  await again.stop()
})

test('a PostgreSQL that crashes is started again, at the same address', async () => {
  const postgres = await start(await usedFolder(), { durable: true })
  await ask(postgres.url, 'create table kept as select 1 as answer')
  const first = postgres.pid!
  process.kill(first, 'SIGKILL')
  await until(() => postgres.pid !== first)
  await until(async () => (await ask(postgres.url, 'select 1').catch(() => [])).length > 0)
  expect(await ask(postgres.url, 'select answer from kept')).toEqual([{ answer: 1 }])
  await postgres.stop()
  expect(isAlive(postgres.pid!)).toBe(false)
})

test('stopping during the pause after a crash leaves nothing running', async () => {
  const dataDir = await usedFolder()
  const postgres = await start(dataDir)
  const first = postgres.pid!
  process.kill(first, 'SIGKILL')
  await until(() => !isAlive(first))
  await postgres.stop()
  await postgres.exited
  expect(isAlive(postgres.pid!)).toBe(false)
  await (await start(dataDir)).stop()
})

test('a process number that belongs to another process by now does not stop the start', async () => {
  const dataDir = await usedFolder()
  const stranger = Bun.spawn({ cmd: ['sleep', '60'] })
  const stale = [
    stranger.pid,
    join(dataDir, 'postgres'),
    1,
    5432,
    join(dataDir, 'postgres'),
    '',
    0,
    'ready',
  ]
  await writeFile(join(dataDir, 'postgres', 'postmaster.pid'), stale.join('\n') + '\n')
  const postgres = await start(dataDir)
  expect(await ask(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }])
  await postgres.stop()
  expect(stranger.exitCode).toBeNull()
  stranger.kill()
})

test('a first start that was interrupted is made anew', async () => {
  const dataDir = nextFolder()
  await mkdir(join(dataDir, 'postgres.new', 'base'), { recursive: true })
  await writeFile(join(dataDir, 'postgres.new', 'PG_VERSION'), '18\n')
  const postgres = await start(dataDir)
  expect(await ask(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }])
  await postgres.stop()
})

test('a data directory with a long path gets its socket elsewhere, and takes it away again', async () => {
  const dataDir = await usedFolder(join(parent, 'long'.repeat(30)))
  const { TMPDIR } = process.env
  // Where it is removed with the rest, should this run be killed.
  const elsewhere = (process.env['TMPDIR'] = await newFolder('sockets'))
  const postgres = await start(dataDir)
  if (TMPDIR === undefined) delete process.env['TMPDIR']
  else process.env['TMPDIR'] = TMPDIR
  const folder = new URL(postgres.url).searchParams.get('host')!
  expect(folder).toStartWith(elsewhere)
  expect((await lstat(folder)).mode & 0o777).toBe(0o700)
  expect(await ask(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }])
  await postgres.stop()
  expect(await lstat(folder).catch(() => 'gone')).toBe('gone')
})

test('a data directory below a closed folder works', async () => {
  const closed = nextFolder()
  await mkdir(closed, { mode: 0o700 })
  const postgres = await start(join(closed, 'data'))
  expect(await ask(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }])
  await postgres.stop()
})

test('a data directory that cannot be written is one clear message', async () => {
  const file = nextFolder()
  await writeFile(file, '')
  const refused = start(join(file, 'data'))
  await expect(refused).rejects.toThrow(StartupError)
  await expect(refused).rejects.toThrow(
    `The data directory ${join(file, 'data')} cannot be written`,
  )
})

test('a database of another major version is refused and left alone', async () => {
  const dataDir = nextFolder()
  await mkdir(join(dataDir, 'postgres'), { recursive: true })
  await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '17\n')
  const refused = start(dataDir)
  await expect(refused).rejects.toThrow(StartupError)
  await expect(refused).rejects.toThrow(
    'was made by PostgreSQL 17, and this Laneway brings PostgreSQL 18',
  )
  expect(await readFile(join(dataDir, 'postgres', 'PG_VERSION'), 'utf8')).toBe('17\n')
})

test('a PostgreSQL that does not come up says why, and lets go of the data directory', async () => {
  const dataDir = await usedFolder()
  const control = join(dataDir, 'postgres', 'global', 'pg_control')
  const whole = await readFile(control)
  await writeFile(control, '')
  await expect(start(dataDir)).rejects.toThrow(/PostgreSQL does not start: .*pg_control/)
  await writeFile(control, whole)
  await (await start(dataDir)).stop()
})

test('links of libraries that a blocked postinstall script left out are made', async () => {
  const folder = nextFolder()
  const native = join(folder, 'native')
  await mkdir(join(native, 'lib'), { recursive: true })
  await writeFile(join(native, 'lib', 'libx.so.1.2'), '')
  const links = ['libx.so', 'libx.so.1'].map((name) => ({
    source: 'native/lib/libx.so.1.2',
    target: `native/lib/${name}`,
  }))
  await writeFile(join(native, 'pg-symlinks.json'), JSON.stringify(links))
  const answers = await Promise.all(
    [1, 2, 3].map(() => completeLinks(native, join(folder, 'other'))),
  )
  expect(answers).toEqual([null, null, null])
  expect(await readlink(join(native, 'lib', 'libx.so.1'))).toBe('libx.so.1.2')
})

const reachable = async (path: string): Promise<boolean> =>
  path === '/' || (((await lstat(path)).mode & 0o005) === 0o005 && (await reachable(dirname(path))))

if (root) {
  test('without user namespaces, data that nobody cannot reach goes to a stated place', async () => {
    const closed = nextFolder()
    await mkdir(closed, { mode: 0o700 })
    const lines: string[] = []
    const loud = pino({ level: 'warn' }, { write: (line) => void lines.push(line) })
    const options = { launch: { identity: 'nobody' }, log: loud } as const
    const first = await start(join(closed, 'data'), options)
    const { database } = JSON.parse(lines[0]!) as { database: string }
    const place = dirname(database)
    try {
      expect(JSON.parse(lines[0]!)).toMatchObject({
        msg: expect.stringContaining(`runs as uid 65534, with its data in ${database}`),
      })
      expect(database).toStartWith('/var/lib/laneway-')
      expect((await lstat(database)).uid).toBe(65534)
      await ask(first.url, 'create table kept as select 1 as answer')
      await first.stop()
      const again = await start(join(closed, 'data'), options)
      expect(await ask(again.url, 'select answer from kept')).toEqual([{ answer: 1 }])
      await again.stop()
    } finally {
      await rm(place, { recursive: true })
    }
  })

  test('without user namespaces, a data directory that nobody can reach is used', async () => {
    await chmod(parent, 0o755)
    const dataDir = nextFolder()
    const postgres = await start(dataDir, { launch: { identity: 'nobody' } })
    expect((await lstat(join(dataDir, 'postgres'))).uid).toBe(65534)
    expect(await ask(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }])
    await postgres.stop()
  })
}

if (root && (await reachable(process.execPath)) && (await reachable(import.meta.dir))) {
  test.each([
    ['an ordinary user', 65534],
    ['a user without a name', 54321],
  ])('%s can run it', async (_, user) => {
    await chmod(parent, 0o755)
    const home = nextFolder()
    await mkdir(home)
    await chown(home, user, user)
    const { child, url, pid } = await startProcess(
      { dataDir: join(home, 'data'), durable: false },
      user,
    )
    expect((await lstat(join(home, 'data', 'postgres'))).uid).toBe(user)
    expect(await ask(url, 'select 1 as one')).toEqual([{ one: 1 }])
    child.kill('SIGKILL')
    await child.exited
    await until(() => !isAlive(pid))
    const again = await startProcess({ dataDir: join(home, 'data'), durable: false }, user)
    await again.child.stdin.end()
    expect(await again.child.exited).toBe(0)
  })
}
