import { pino } from 'pino'
import { startEmbedded } from '#store/embedded/start.ts'

/**
 * A process that runs an embedded PostgreSQL, for tests that kill it. Its argument is the options as
 * JSON; it prints a line of JSON when PostgreSQL is up, and ends when its input does.
 */
const log = pino({ level: 'silent' })
const postgres = await startEmbedded({ ...JSON.parse(process.argv[2]!), log })
console.log(JSON.stringify({ url: postgres.url, pid: postgres.pid }))
for await (const _ of Bun.stdin.stream()) {
  // Nothing is said; the end is the message.
}
await postgres.stop()
