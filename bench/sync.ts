import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { type Pool, openPool, withDatabase } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { migrate } from '#store/migrate.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'

// A user in many rooms, of which one changed: how long their /sync takes and how many statements it
// sends, beside a user in one room. Both should be the same. `bun bench/sync.ts [rooms]`

const numberOfRooms = Number(process.argv[2] ?? 1000)
const rounds = 300

const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
const named = process.env['DATABASE_URL']
const postgres = named
  ? undefined
  : await startEmbedded({ dataDir: folder, log: pino({ enabled: false }) })
const url = named ?? postgres!.url
const database = `laneway_bench_${process.pid}`
await administer(`create database ${database} encoding 'UTF8' template template0`)
const pool = openPool(withDatabase(url, database), { max: 8 })
try {
  await migrate(pool, join(import.meta.dir, '../sql'), 'bench')
  await run(pool)
} finally {
  await pool.end()
  await administer(`drop database ${database}`)
  await postgres?.stop()
  await rm(folder, { recursive: true, force: true })
}

async function run(sql: Pool): Promise<void> {
  const story = await Story.begin(sql)
  const [many, one] = ['@many:here.example', '@one:here.example']
  const rooms: StoryRoom[] = []
  for (let each = 0; each < numberOfRooms; each++) rooms.push(await story.room(many))
  const only = await story.room(one)
  await sql`analyze`

  const started = performance.now()
  const answer = await story.sync(many)
  const bytes = JSON.stringify(answer).length
  console.log(
    `first sync of ${numberOfRooms} rooms: ${(performance.now() - started).toFixed(0)} ms, ${(bytes / 1024).toFixed(0)} KiB`,
  )
  await measure(story, `${numberOfRooms} rooms, one changed`, many, rooms)
  await measure(story, '1 room, changed', one, [only])
}

async function measure(
  story: Story,
  name: string,
  userId: string,
  rooms: readonly StoryRoom[],
): Promise<void> {
  const { sql } = story
  let { next_batch: since } = await story.sync(userId)
  const times: number[] = []
  let statements = 0
  let server = 0
  let database = 0
  for (let round = 0; round < rounds; round++) {
    const room = rooms[Math.floor(Math.random() * rooms.length)]!
    await room.send(userId, `round ${round}`)
    await story.positions.settled()
    const postgresBefore = await postgresMs(sql)
    const options = sql.options as { debug: unknown }
    options.debug = () => statements++
    const cpu = process.cpuUsage()
    const start = performance.now()
    const answer = await story.sync(userId, { since })
    times.push(performance.now() - start)
    const used = process.cpuUsage(cpu)
    options.debug = false
    server += used.user + used.system
    database += (await postgresMs(sql)) - postgresBefore
    if (Object.keys(answer.rooms?.join ?? {}).length !== 1) throw new Error('not one room')
    since = answer.next_batch
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => times[Math.floor(times.length * share)]!.toFixed(2)
  console.log(
    `${name}: median ${at(0.5)} ms, p99 ${at(0.99)} ms, ${(statements / rounds).toFixed(1)} statements, ` +
      `CPU server ${(server / rounds / 1000).toFixed(2)} ms, PostgreSQL ${(database / rounds).toFixed(2)} ms`,
  )
}

/** CPU of the backends of this database, to 10 ms: what the kernel counts in. */
async function postgresMs(sql: Pool): Promise<number> {
  const rows = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database()`
  let ticks = 0
  for (const { pid } of rows) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
  }
  return ticks * 10
}

async function administer(statement: string): Promise<void> {
  const sql = openPool(withDatabase(url, 'postgres'), { max: 1 })
  await sql.unsafe(statement)
  await sql.end()
}
