import type { Pool } from '#store/db.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { cpuFigures, latencyFigures, openBench } from './figures.ts'
import { type Stand, withStand } from './stand.ts'
import { costOf } from './statement-cost.ts'

const help = `
How long an incremental /sync takes for a user in many rooms of which one changed, how many statements
it sends to PostgreSQL, and the CPU of server and PostgreSQL apart; beside it a user in one room. Both
should cost the same: the work is in proportion to what changed. Without HTTP.

  bun run bench sync [--rooms 1000] [--rounds 500]

The floor of a /sync is one statement that reads the one new event by its position in the shard, and
that event written as JSON: who answers for what is committed, and keeps events in a database, can do
with no less. It is measured beside each /sync, in the same process and on the same event.
`

const bench = openBench('sync', help, { rooms: 1000, rounds: 500 }, { rooms: 50, rounds: 20 })
const { options } = bench

// With the history visibility that each of their presets sets.
const asClients = { visibility: 'shared' }

await withStand(run, { quick: bench.short })
bench.chart('CPU of a /sync, and of the least that it can do', ['CPU server', 'CPU PostgreSQL'], {
  stacked: true,
})
bench.finish()

async function run({ pool }: Stand): Promise<void> {
  const story = await Story.begin(pool)
  const [many, one] = ['@many:here.example', '@one:here.example']
  const rooms: StoryRoom[] = []
  for (let each = 0; each < options.rooms; each++) rooms.push(await story.room(many, asClients))
  const only = await story.room(one, asClients)
  await pool`analyze`

  const started = performance.now()
  const bytes = JSON.stringify(await story.sync(many)).length
  bench.tell(`the first one, of ${options.rooms} rooms`, [
    { name: 'latency', value: performance.now() - started, unit: 'ms' },
    { name: 'answer', value: bytes / 1024, unit: 'KiB' },
  ])
  await measure(story, `${options.rooms} rooms, one changed`, many, rooms)
  await measure(story, '1 room, changed', one, [only])
}

type Sum = { times: number[]; statements: number; server: number; postgres: number }

function nothing(): Sum {
  return { times: [], statements: 0, server: 0, postgres: 0 }
}

async function measure(
  story: Story,
  name: string,
  userId: string,
  rooms: readonly StoryRoom[],
): Promise<void> {
  const { sql } = story
  let { next_batch: since } = await story.sync(userId)
  const [whole, floor] = [nothing(), nothing()]
  const warmUp = Math.ceil(options.rounds / 10)
  for (let round = 0; round < options.rounds + warmUp; round++) {
    const room = rooms[Math.floor(Math.random() * rooms.length)]!
    const { position } = await room.send(userId, `round ${round}`)
    await story.positions.settled()
    const counts = round >= warmUp
    // Taking turns at being first: what the first has read is in the cache for the second.
    const least = () => readNewEvent(sql, room.shard, position! - 1)
    if (round % 2 === 0) await spend(sql, counts ? floor : nothing(), least)
    const answer = await spend(sql, counts ? whole : nothing(), () => story.sync(userId, { since }))
    if (round % 2 === 1) await spend(sql, counts ? floor : nothing(), least)
    if (Object.keys(answer.rooms?.join ?? {}).length !== 1) throw new Error('Not one room changed')
    since = answer.next_batch
  }
  const told = (sum: Sum) => [
    ...latencyFigures(sum.times),
    { name: 'statements', value: sum.statements / options.rounds, unit: '' },
    ...cpuFigures([sum.server, sum.postgres], options.rounds),
  ]
  bench.tell(name, [
    ...told(whole),
    {
      name: 'to the floor',
      value: (whole.server + whole.postgres) / (floor.server + floor.postgres),
      unit: '×',
    },
  ])
  bench.tell(`${name}: the floor`, told(floor))
}

/** One indexed statement for what is new in a shard, and its answer as text. */
async function readNewEvent(sql: Pool, shard: number, after: number): Promise<string> {
  const rows = await sql<{ json: string }[]>`
    select j.json from events e join event_json j using (shard, event_nid)
    where e.shard = ${shard} and e.position > ${after}`
  if (rows.length !== 1) throw new Error('Not one event is new')
  return JSON.stringify(rows.map(({ json }) => JSON.parse(json) as object))
}

/** Adds what some work costs. */
async function spend<T>(sql: Pool, sum: Sum, work: () => Promise<T>): Promise<T> {
  const { cost, result } = await costOf(sql, work)
  sum.times.push(cost.ms)
  sum.statements += cost.statements
  sum.server += cost.server
  sum.postgres += cost.postgres
  return result
}
