import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { startEmbedded } from '#store/embedded/start.ts'
import { silentLog } from '#src/log.ts'

/**
 * A process with a PostgreSQL and a disk of its own, which holds 64 MB: run it under `unshare --map-root-user
 * --mount`. Its argument is a folder. It prints the URL and where the disk is, and ends when its input does.
 */
const folder = process.argv[2]!
const disk = join(folder, 'disk')
await mkdir(disk)
const options = 'size=64m,mode=0777'
const mounted = Bun.spawnSync(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', disk])
if (!mounted.success) throw new Error(mounted.stderr.toString())
// PostgreSQL wants an empty folder of its own.
const place = join(disk, 'place')
await mkdir(place)
const postgres = await startEmbedded({ dataDir: folder, log: silentLog, durable: false })
console.log(JSON.stringify({ url: postgres.url, place }))
for await (const _ of Bun.stdin.stream()) {
  // Nothing is said; the end is the message.
}
await postgres.stop()
