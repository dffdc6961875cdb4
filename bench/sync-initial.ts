import type { Pool } from '#store/db.ts'
import { Story, type StoryRoom, type SyncOptions } from '#test/engine/read/story.ts'
import { cpuFigures, openBench } from './figures.ts'
import { type Stand, withStand } from './stand.ts'
import { costOf, type Cost } from './statement-cost.ts'

const help = `
How long the first /sync of a user takes who is in many rooms, each with a name, a topic, some members and
messages: how many statements it sends to PostgreSQL, how large its answer is, and the CPU of server and
PostgreSQL, apart; first with nothing in the caches, then again. With and without lazy loading of members, and
as sliding clients begin: with one event of each room. Without HTTP.

  bun run bench sync-initial [--rooms 1000] [--members 20] [--messages 20] [--rounds 5]
`

const bench = openBench(
  'sync-initial',
  help,
  { rooms: 1000, members: 20, messages: 20, rounds: 5 },
  { rooms: 50, rounds: 2 },
)
const { options } = bench
const user = '@user:here.example'

const filters: [name: string, filter: object][] = [
  ['all members', {}],
  ['lazily loaded members', { room: { state: { lazy_load_members: true } } }],
  [
    'lazily, 1 event of each',
    { room: { state: { lazy_load_members: true }, timeline: { limit: 1 } } },
  ],
]

await withStand(run, { quick: bench.short })
bench.chart('Until the first /sync is answered', ['first', 'then'])
bench.finish()

async function run({ pool }: Stand): Promise<void> {
  const story = await Story.begin(pool)
  for (let each = 0; each < options.rooms; each++) await fill(await story.room(user), each)
  await pool`analyze`
  const first = await story.restart()
  for (const [name, filter] of filters) await measure(pool, first, name, { filter })
  const kib = process.memoryUsage.rss() / 1024
  bench.tell('afterwards', [
    { name: 'memory, with what made the rooms', value: kib / 1024, unit: 'MiB' },
  ])
}

/** People and messages, in one commit. */
async function fill(room: StoryRoom, index: number): Promise<void> {
  const part = room.part()
  const state = { stateKey: '' }
  await room.add(part, user, 'm.room.name', { name: `Room ${index}` }, state)
  await room.add(part, user, 'm.room.topic', { topic: `What room ${index} is about` }, state)
  const people = [user]
  for (let n = 1; n < options.members; n++) {
    // Some are in many rooms, and some in few.
    const member = `@member${n % 4 === 0 ? n : index * options.members + n}:here.example`
    const content = { membership: 'join', displayname: `Member ${n}` }
    await room.add(part, member, 'm.room.member', content, { stateKey: member })
    people.push(member)
  }
  for (let n = 0; n < options.messages; n++) {
    const content = { msgtype: 'm.text', body: `Message ${n} of somebody in room ${index}` }
    await room.add(part, people[n % people.length]!, 'm.room.message', content, {})
  }
  await room.commit(part)
}

async function measure(
  sql: Pool,
  story: Story,
  name: string,
  syncOptions: SyncOptions,
): Promise<void> {
  const costs: Cost[] = []
  let bytes = 0
  for (let round = 0; round < options.rounds + 1; round++) {
    const { cost, result } = await costOf(sql, async () =>
      JSON.stringify(await story.sync(user, { ...syncOptions, deviceId: `D${round}` })),
    )
    costs.push(cost)
    bytes = result.length
  }
  const [first, ...others] = costs as [Cost, ...Cost[]]
  const mean = (of: (cost: Cost) => number) =>
    others.reduce((sum, cost) => sum + of(cost), 0) / others.length
  const then = [mean(({ server }) => server), mean(({ postgres }) => postgres)] as const
  bench.tell(`${options.rooms} rooms of ${options.members}, ${name}`, [
    { name: 'first', value: first.ms, unit: 'ms' },
    { name: 'then', value: mean(({ ms }) => ms), unit: 'ms' },
    ...cpuFigures(then, 1),
    { name: 'statements', value: mean(({ statements }) => statements), unit: '' },
    { name: 'answer', value: bytes / 1024, unit: 'KiB' },
  ])
}
