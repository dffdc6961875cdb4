import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { superuser } from '#store/embedded/cluster.ts'

/**
 * The URL of the PostgreSQL that a running server keeps in `dataDir`; undefined if none runs there.
 * Commands beside a running server connect to it, since only one process may start it.
 */
export async function runningEmbedded(dataDir: string): Promise<string | undefined> {
  const file = join(dataDir, 'postgres', 'postmaster.pid')
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n')
  const [pid, , , , socketFolder] = lines
  if (!socketFolder || lines[7]?.trim() !== 'ready' || !isAlive(Number(pid))) return undefined
  return `postgres://${superuser}@localhost/laneway?host=${encodeURIComponent(socketFolder.trim())}`
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Another user's process is alive, too.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
