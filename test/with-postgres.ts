import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { chooseLaunch, spawnOptions } from '#store/embedded/identity.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { silentLog } from '#src/log.ts'
import { newFolder, removeFolders } from '#test/folder.ts'

/**
 * Runs a command with DATABASE_URL naming a PostgreSQL that is started for the purpose: the oldest
 * one that this system has installed, or else the one that we bring. For example
 * `bun test/with-postgres.ts bun test`.
 */
type Server = { url: string; stop(): Promise<void> }

const folder = await newFolder('named')
const binaries = await findBinaries()
const server = binaries ? await startInstalled(binaries) : await startOurs()
try {
  const command = Bun.spawn({
    cmd: process.argv.slice(2),
    env: { ...process.env, DATABASE_URL: server.url },
    stdio: ['inherit', 'inherit', 'inherit'],
  })
  process.exitCode = await command.exited
} finally {
  await server.stop()
  await removeFolders()
}

async function findBinaries(): Promise<string | undefined> {
  const installed = '/usr/lib/postgresql'
  const versions = (await readdir(installed).catch(() => [])).sort((a, b) => Number(a) - Number(b))
  for (const version of versions)
    if (await Bun.file(join(installed, version, 'bin', 'postgres')).exists())
      return join(installed, version, 'bin')
  return undefined
}

async function startOurs(): Promise<Server> {
  console.log('PostgreSQL of our own, as no other is installed')
  return startEmbedded({ dataDir: folder, log: silentLog, durable: false, maxConnections: 300 })
}

async function startInstalled(from: string): Promise<Server> {
  const launch = await chooseLaunch()
  const data = join(folder, 'data')
  const run = (name: string, ...args: string[]) =>
    Bun.spawn({
      ...spawnOptions(launch, [join(from, name), '-D', data, ...args]),
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
      detached: true,
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'inherit',
    })
  const made = run('initdb', '-U', 'laneway', '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N')
  if ((await made.exited) !== 0) throw new Error('initdb failed')
  console.log(
    `PostgreSQL ${(await readFile(join(data, 'PG_VERSION'), 'utf8')).trim()} of this system`,
  )
  const settings = [
    'listen_addresses=',
    `unix_socket_directories=${folder}`,
    'fsync=off',
    'max_connections=300',
    'log_min_messages=panic',
  ]
  const child = run('postgres', ...settings.flatMap((setting) => ['-c', setting]))
  for (;;) {
    if (child.exitCode !== null) throw new Error('PostgreSQL did not start')
    const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
    if (lines[7]?.trim() === 'ready') break
    await Bun.sleep(10)
  }
  return {
    url: `postgres://laneway@localhost/postgres?host=${encodeURIComponent(folder)}`,
    async stop() {
      child.kill('SIGINT')
      await child.exited
    },
  }
}
