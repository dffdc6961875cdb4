import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmptyDatabase } from '#test/database.ts'
import { freePorts } from '#test/laneway.ts'

const root = join(import.meta.dir, '../..')
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'laneway-program-'))
})

afterAll(() => rm(directory, { recursive: true, force: true }))

type Ended = { code: number; out: string; errors: string; log: string }

/** Runs the program to its end; `toml` is its configuration, to which the log file is added. */
async function run(args: string[], toml = ''): Promise<Ended> {
  const name = crypto.randomUUID()
  const log = join(directory, `${name}.log`)
  const config = join(directory, `${name}.toml`)
  await Bun.write(config, `${toml}\n[log]\nfile = "${log}"\nformat = "json"\n`)
  const child = Bun.spawn([process.execPath, 'src/main.ts', ...args, '--config', config], {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', HOME: directory },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [out, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  const logFile = Bun.file(log)
  return { code, out, errors, log: (await logFile.exists()) ? await logFile.text() : '' }
}

const listener = (port: number) => `[[listeners]]\naddress = "127.0.0.1"\nport = ${port}\n`

/** One message, on stderr and in the log, and no stack. */
function expectRefusal(ended: Ended, message: RegExp): void {
  expect(ended.errors).toMatch(message)
  expect(ended.errors).not.toContain('    at ')
  const records = ended.log.trim().split('\n')
  const fatal = JSON.parse(records.at(-1)!) as { level: string; msg: string }
  expect(fatal.level).toBe('fatal')
  expect(fatal.msg).toMatch(message)
  expect(ended.code).toBe(1)
}

test('help names the commands and shows examples', async () => {
  const { code, out } = await run(['--help'])
  expect(code).toBe(0)
  expect(out).toContain('bun run server user add NAME')
  expect(out).toContain('Examples')
})

test('the printed example is a configuration that can be used as it is', async () => {
  const { code, out } = await run(['config'])
  expect(code).toBe(0)
  expect(Bun.TOML.parse(out)).toBeObject()
  expect(out).toContain('# server_name = "localhost"')
})

test('a command that does not exist is refused', async () => {
  const { code, errors } = await run(['serve'])
  expect(errors).toMatch(/There is no command 'serve'\. --help lists what there is/)
  expect(code).toBe(1)
})

test('an option that does not exist is refused, with the one that was probably meant', async () => {
  const ended = await run([], 'server_nam = "example.org"')
  expectRefusal(ended, /server_nam: no such option; did you mean server_name\?/)
})

test('a data directory that cannot be written is named', async () => {
  await Bun.write(join(directory, 'file'), '')
  const ended = await run([], `data_dir = "${directory}/file/data"`)
  expectRefusal(ended, /The data directory .*file\/data cannot be written/)
})

test('a database that cannot be reached is named as the cause', async () => {
  const [port] = await freePorts(1)
  const ended = await run([], `[database]\nurl = "postgres://laneway@127.0.0.1:${port}/laneway"`)
  expectRefusal(ended, /The database cannot be reached: .*ECONNREFUSED/)
})

test('a database of a release that this one cannot follow is refused', async () => {
  await using database = await openEmptyDatabase()
  await database.pool`
    create table schema_version (
      version integer primary key, compat integer not null, name text not null,
      release text not null, applied_at timestamptz not null default now())`
  await database.pool`
    insert into schema_version (version, compat, name, release)
    values (900, 900, 'far', '99.0.0')`
  const ended = await run([], `[database]\nurl = "${database.url}"`)
  expectRefusal(ended, /99\.0\.0/)
})

test('a port that is taken is named, and the database that was started is stopped again', async () => {
  const taken = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response() })
  const dataDir = join(directory, 'port-taken')
  try {
    const ended = await run([], `data_dir = "${dataDir}"\n${listener(taken.port!)}`)
    expectRefusal(ended, new RegExp(`Cannot listen on 127.0.0.1:${taken.port}: another program`))
    expect(await Bun.file(join(dataDir, 'postgres/postmaster.pid')).exists()).toBe(false)
  } finally {
    await taken.stop(true)
  }
}, 20_000)
