import { UnreadCounts } from '#engine/sync/unread.ts'
import { UserFacts } from '#engine/sync/user-facts.ts'
import { RequiredState } from '#engine/sync/sliding/required-state.ts'
import type { SlidingRequest } from '#engine/sync/sliding/request.ts'
import { Sliding, slidingSync } from '#engine/sync/sliding/sliding.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { cpuFigures, type Figure, latencyFigures, openBench } from './figures.ts'
import { type Stand, withStand } from './stand.ts'
import { type Cost, costOf } from './statement-cost.ts'

const help = `
How long sliding sync takes for a user in many rooms, as Element X asks for them: the first request with
a window of the 20 rooms on top, on a server that knows nothing of the rooms yet and on one that does; the
window over all rooms; then each time one room changed. With the statements that it sends to PostgreSQL,
the CPU of server and PostgreSQL apart, and the memory of the server after. Without HTTP.

  bun run bench sliding-sync [--rooms 1000] [--rounds 500]
`

const bench = openBench(
  'sliding-sync',
  help,
  { rooms: 1000, rounds: 500 },
  { rooms: 50, rounds: 20 },
)
const { options } = bench
const userId = '@many:here.example'

const run = async ({ pool }: Stand) => {
  const story = await Story.begin(pool)
  const rooms: StoryRoom[] = []
  for (let each = 0; each < options.rooms; each++) rooms.push(await story.room(userId))
  await pool`analyze`
  const before = memory()
  const reader = readerOf(story)
  const ask = (range: [number, number], pos?: string) =>
    slidingSync(reader, requestOf(range, pos), new AbortController().signal, 0)
  const measure = async (name: string, range: [number, number], pos?: string) => {
    const { cost, result } = await costOf(pool, () => ask(range, pos))
    const told = Object.keys(result.rooms).length
    print(
      name,
      [cost],
      [
        { name: 'rooms told', value: told, unit: '' },
        { name: 'answer', value: JSON.stringify(result).length / 1024, unit: 'KiB' },
      ],
    )
    return result.pos
  }
  await measure('the first, of a server that has just started', [0, 19])
  let pos = await measure('the first', [0, 19])
  pos = await measure('the window over all', [0, options.rooms - 1], pos)
  // What is too much for one answer comes with the next.
  for (let told = 1; told > 0;) {
    const answer = await ask([0, options.rooms - 1], pos)
    told = Object.keys(answer.rooms).length
    ;({ pos } = answer)
  }
  for (const [name, range] of [
    ['a window of 20', [0, 19]],
    ['a window of all', [0, options.rooms - 1]],
  ] as const) {
    const costs: Cost[] = []
    const warmUp = Math.ceil(options.rounds / 10)
    for (let round = 0; round < options.rounds + warmUp; round++) {
      const room = rooms[Math.floor(Math.random() * rooms.length)]!
      await room.send(userId, `round ${round}`)
      await story.positions.settled()
      const { cost, result } = await costOf(pool, () => ask([...range], pos))
      if (!(room.roomId in result.rooms)) throw new Error('The room that changed was not told')
      pos = result.pos
      if (round >= warmUp) costs.push(cost)
    }
    print(`${name}, one room changed`, costs)
  }
  bench.tell('afterwards', [
    { name: 'memory', value: memory(), unit: 'MiB' },
    { name: 'of it since', value: memory() - before, unit: 'MiB' },
  ])
}

/** A server that has just started, but for the vector that it answers for. */
function readerOf(story: Story) {
  return Object.assign(Object.create(story) as Story, {
    sliding: new Sliding(),
    unread: new UnreadCounts(),
    facts: new UserFacts(),
    clock: Date.now,
  })
}

function requestOf(range: [number, number], pos: string | undefined): SlidingRequest {
  const required = RequiredState.parse(
    [
      ['m.room.name', ''],
      ['m.room.encryption', ''],
      ['m.room.member', '$LAZY'],
      ['m.room.member', '$ME'],
      ['m.room.topic', ''],
      ['m.room.avatar', ''],
      ['m.room.canonical_alias', ''],
      ['m.room.power_levels', ''],
      ['m.room.create', ''],
      ['m.room.join_rules', ''],
      ['m.room.tombstone', ''],
      ['m.room.pinned_events', ''],
    ],
    userId,
  )
  const everywhere = { lists: undefined, rooms: undefined }
  return {
    userId,
    deviceId: 'DEVICE',
    connId: 'room-list',
    pos,
    lists: new Map([
      [
        'all_rooms',
        {
          config: { limit: 1, required },
          ranges: [range],
          filters: { notRoomTypes: new Set(['m.space']) },
        },
      ],
    ]),
    subscriptions: new Map(),
    extensions: { accountData: everywhere, receipts: everywhere, typing: everywhere },
  }
}

function print(title: string, costs: readonly Cost[], more: Figure[] = []): void {
  const times = costs.map(({ ms }) => ms)
  const mean = (of: (cost: Cost) => number) =>
    costs.reduce((sum, cost) => sum + of(cost), 0) / costs.length
  bench.tell(title, [
    ...latencyFigures(times).slice(0, costs.length === 1 ? 1 : 3),
    { name: 'statements', value: mean((cost) => cost.statements), unit: '' },
    ...cpuFigures([mean((cost) => cost.server), mean((cost) => cost.postgres)], 1),
    ...more,
  ])
}

/** MiB that the process holds once what nobody needs is gone. */
function memory(): number {
  Bun.gc(true)
  return process.memoryUsage.rss() / 2 ** 20
}

await withStand(run, { quick: bench.short })
bench.chart('Until an answer', ['p50', 'p99'])
bench.finish()
