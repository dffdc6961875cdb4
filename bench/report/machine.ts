import { $ } from 'bun'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { findBinaries } from '#store/embedded/binaries.ts'
import { version as synapse } from '#test/interop/venv.ts'
import { openPool } from '#store/db.ts'

/** Where figures come from, by what they are called in the report. */
export type Machine = Record<string, string>

const root = join(import.meta.dir, '../..')

/** Names the machine and the versions of what runs on it. */
export async function describeMachine(withSynapse: boolean): Promise<Machine> {
  const [first, ...others] = cpus()
  return {
    Processor: `${first?.model.trim() ?? 'unknown'}, ${others.length + 1} cores`,
    Memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    Kernel: `Linux ${release()}`,
    'Load before': loadavg()
      .map((each) => each.toFixed(1))
      .join(', '),
    Laneway: await commitOf(root),
    Bun: Bun.version,
    PostgreSQL: await postgresVersion(),
    ...(withSynapse && { Synapse: synapse }),
  }
}

/** The commit, and whether files differ from it. */
async function commitOf(folder: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
    version: string
  }
  const commit = await $`git -C ${folder} log -1 --format=%h,%cs`.quiet().nothrow()
  if (commit.exitCode !== 0) return version
  const changed = await $`git -C ${folder} status --porcelain --untracked-files=no`
    .quiet()
    .nothrow()
  const [hash, day] = commit.text().trim().split(',')
  return `${version}, commit ${hash} of ${day}${changed.text() === '' ? '' : ', with changes'}`
}

async function postgresVersion(): Promise<string> {
  const named = process.env['DATABASE_URL']
  if (named !== undefined) {
    const sql = openPool(named, { max: 1 })
    const [row] = await sql<
      { version: string }[]
    >`select current_setting('server_version') as version`
    await sql.end()
    return `${row!.version}, named by DATABASE_URL`
  }
  const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
  try {
    const { root: binaries, libraries } = await findBinaries(folder)
    const told = await $`${join(binaries, 'bin/postgres')} --version`
      .env({ ...process.env, ...(libraries && { LD_LIBRARY_PATH: libraries }) })
      .quiet()
    return `${/[\d.]+/.exec(told.text())?.[0] ?? 'unknown'}, embedded, fsync on`
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
