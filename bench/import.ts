import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Login } from '#test/laneway.ts'
import { type Figure, openBench } from './figures.ts'
import { batchSend } from './import/batch-send.ts'
import { Importing, type Imported, type Wish } from './import/importing.ts'
import { LiveSends } from './import/live-sends.ts'
import { Order, readImported } from './import/order.ts'
import { peakKib } from './import/process.ts'
import { Talk } from './import/talk.ts'
import { quantile } from './stand.ts'
import { type WholeServer, withWholeServer } from './whole-server.ts'

const help = `
The history of another chat into rooms of a server, with the importer as an operator runs it: from an
archive of Gitter in a folder (made up: 200 people, a fifth in threads, 3 % edited) until clients can read
it.

  bun run bench import [--messages 1000000] [--rooms 500] [--jobs 2]
    [--only one,middle,many,live,rates,batch-send] [--rates 10000,5000,2500,1000] [--rate-seconds 30]
    [--idle 30] [--batch-messages 10000] [--workers 0] [--api] [--against synapse]

  one         into one new room
  middle      as many again into the middle of it
  many        as many into 500 new rooms
  live        into one new room while somebody sends a message in another every 100 ms, for which the
              server slows the import down by itself
  rates       the same at these rates, by the importer's \`--rate\`
  batch-send  10,000 messages through MSC2716, 100 at a time; beside the last Synapse that had it

Tells for each: messages a second from the start of the importer to the last commit, CPU a message of
server, PostgreSQL and importer, the most memory of both, how long commit and undo take, and what live
sends take beside it. Counts: what is read, from either end, is what was imported, in its order, and nothing
of it once it is undone. How far it is goes to stderr. A million messages take some 5 GB of the disk for
each of the first three, which are freed at the end, and \`--only\` leaves parts out.

\`--api\` puts records right into the server's API, with replies, reactions and edits among them, to tell
what the server takes from what the importer takes.
`

const bench = openBench(
  'import',
  help,
  {
    messages: 1_000_000,
    rooms: 500,
    jobs: 2,
    only: 'one,middle,many,live,rates,batch-send',
    rates: '10000,5000,2500,1000',
    'rate-seconds': 30,
    idle: 30,
    'batch-messages': 10_000,
    workers: 0,
    api: false,
    against: '',
  },
  // A fiftieth in all.
  {
    messages: 5_000,
    rooms: 10,
    only: 'one,middle,many,live,batch-send',
    idle: 1,
    'batch-messages': 200,
  },
)
const { options } = bench
const only = options.only.split(',')
const start = Date.UTC(2014, 0, 1)
const day = 24 * 3600 * 1000

/** Of what a live send may take beside an import, in times of what it takes alone. */
const bearable = 1.5
/** Messages that are imported beside live sends: enough to tell. */
const mostBeside = 200_000

class Round {
  readonly #server: WholeServer
  readonly #admin: Login
  readonly #live: LiveSends
  readonly #importing: Importing
  #count = 0

  constructor(
    server: WholeServer,
    { admin, live, folder }: { admin: Login; live: LiveSends; folder: string },
  ) {
    this.#server = server
    this.#admin = admin
    this.#live = live
    const { api, jobs } = options
    this.#importing = new Importing(server, { admin, folder, api, jobs })
  }

  /** Into a new room, and then as many into its middle. */
  async oneRoom(): Promise<void> {
    const { messages } = options
    // Twice as long as what comes into it takes.
    const pauseMs = 10_000 * messages + 30 * day
    const outer = new Talk({ number: 1, messages, start, pauseMs })
    const first = await this.#import({ talks: [outer] })
    const [session] = first.imported.sessions
    if (!session) throw new Error('Nothing was published')
    const whole = Order.of(outer.ids())
    const figures = [
      ...first.figures,
      ...(await this.#counts(session.room_id, whole)),
      exactly('events told of', session.accepted, messages),
      exactly('repeated commits told differently', +!(await this.#importing.repeats(session)), 0),
    ]
    if (only.includes('middle')) {
      const from = outer.timeOf(outer.half - 1) + day
      await this.#middle(outer, new Talk({ number: 2, messages, start: from }), session.room_id)
    }
    const undo = await this.#importing.undo(session)
    const left = await readImported(this.#admin, session.room_id, 'b')
    bench.tell('into one new room', [
      ...figures,
      undoFigure(undo),
      exactly('left after undo', left.count, 0),
    ])
  }

  async #middle(outer: Talk, inner: Talk, roomId: string): Promise<void> {
    const { imported, figures } = await this.#import({ talks: [inner], into: roomId })
    const { half, options: whole } = outer
    const all = Order.of(outer.ids(0, half), inner.ids(), outer.ids(half, whole.messages))
    const counts = await this.#counts(roomId, all)
    const [session] = imported.sessions
    const undo = await this.#importing.undo(session!)
    const left = await readImported(this.#admin, roomId, 'b')
    bench.tell(`into the middle of ${whole.messages.toLocaleString('en')} in a room`, [
      ...figures,
      ...counts,
      undoFigure(undo),
      exactly('orders that differ after undo', +!left.equals(Order.of(outer.ids())), 0),
    ])
  }

  async manyRooms(): Promise<void> {
    const messages = Math.ceil(options.messages / options.rooms)
    const talks = Array.from(
      { length: options.rooms },
      (_, n) => new Talk({ number: 10 + n, messages, start: start + n }),
    )
    const { imported, figures } = await this.#import({ talks })
    const found = new Order('f')
    let wrong = 0
    const expected = new Set(talks.map((talk) => Order.of(talk.ids()).hash))
    for (const { room_id: roomId } of imported.sessions) {
      const read = await readImported(this.#admin, roomId, 'b')
      found.count += read.count
      if (!expected.delete(read.hash)) wrong++
    }
    let [undo, left] = [0, 0]
    for (const session of imported.sessions) {
      undo = Math.max(undo, await this.#importing.undo(session))
      left += (await readImported(this.#admin, session.room_id, 'b')).count
    }
    bench.tell(`into ${options.rooms} new rooms`, [
      ...figures,
      exactly('rooms', imported.sessions.length, options.rooms),
      exactly('read', found.count, messages * options.rooms),
      exactly('rooms in another order', wrong, 0),
      undoFigure(undo),
      exactly('left after undo', left, 0),
    ])
  }

  /** Beside somebody who sends, for whom the server makes way. */
  async live(): Promise<void> {
    const messages = Math.min(options.messages, mostBeside)
    const talk = new Talk({ number: 6, messages, start })
    const { figures, imported } = await this.#import({ talks: [talk] }, true)
    for (const session of imported.sessions) await this.#importing.undo(session)
    bench.tell('beside somebody who sends, as fast as the server lets it', figures)
  }

  /** At which rate others do not feel it. */
  async rates(): Promise<void> {
    let bearing = 0
    for (const rate of options.rates.split(',').map(Number)) {
      const messages = Math.min(options.messages, rate * options['rate-seconds'])
      const talk = new Talk({ number: 5, messages, start })
      const { figures, ratio, imported } = await this.#import({ talks: [talk], rate }, true)
      if (ratio <= bearable) bearing = Math.max(bearing, rate)
      for (const session of imported.sessions) await this.#importing.undo(session)
      bench.tell(`at ${rate.toLocaleString('en')} messages a second`, figures)
    }
    const target = { first: 10_000, goal: 10_000, more: true } as const
    bench.tell('beside live sends', [
      { name: 'rate that they bear', value: bearing, unit: 'messages/s', target },
    ])
  }

  /** Imports, with nobody else there or beside somebody who sends. */
  async #import(wish: Omit<Wish, 'source'>, isLive = false) {
    // Its memory is to be that of this alone.
    await this.#server.stop()
    await this.#server.start()
    const { run } = await this.#importing.prepare({ ...wish, source: `bench${this.#count++}` })
    let idle: number[] = []
    const alone = await this.#server.costOf(async () => {
      if (isLive) idle = await this.#live.idle(options.idle)
    })
    let done: { done: Imported; latencies: number[] } | undefined
    const both = await this.#server.costOf(async () => {
      done = isLive ? await this.#live.during(run()) : { done: await run(), latencies: [] }
    })
    // As PostgreSQL does by itself within a minute: without it, plans are those of empty tables.
    await this.#server.stand.pool`analyze`
    const memory = (await peakKib(this.#server.pid)) ?? NaN
    const { done: imported, latencies } = done!
    // Without what the live sends cost; of a few that says nothing.
    const share = bench.short || !isLive ? 0 : latencies.length / idle.length
    const spent = [both[0] - alone[0] * share, both[1] - alone[1] * share] as const
    const ratio = isLive ? quantile(latencies, 0.99) / quantile(idle, 0.99) : 0
    const messages = wish.talks.reduce((sum, talk) => sum + talk.options.messages, 0)
    const figures = [
      ...speedFigures(imported, messages, isLive),
      ...costFigures(imported, messages, { spent, memory }),
      ...(isLive ? liveFigures(idle, latencies, ratio) : []),
    ]
    return { imported, figures, ratio }
  }

  /** That what is read is what was imported. */
  async #counts(roomId: string, expected: Order): Promise<Figure[]> {
    const backwards = await readImported(this.#admin, roomId, 'b')
    const forwards = await readImported(this.#admin, roomId, 'f')
    const isSame = backwards.equals(expected) && forwards.equals(expected)
    return [
      exactly('read backwards', backwards.count, expected.count),
      exactly('read forwards', forwards.count, expected.count),
      exactly('orders that differ', isSame ? 0 : 1, 0),
    ]
  }
}

function speedFigures(
  { seconds, readSeconds, sessions }: Imported,
  messages: number,
  isLive: boolean,
): Figure[] {
  const target = { first: 10_000, goal: 10_000, more: true } as const
  const unit = 'messages/s'
  const commit = Math.max(...sessions.map(({ commitMs }) => commitMs))
  return [
    { name: 'rate', value: messages / seconds, unit, ...(!isLive && { target }) },
    ...(readSeconds > 0
      ? [
          { name: 'rate of reading', value: messages / readSeconds, unit },
          { name: 'rate of sending', value: messages / (seconds - readSeconds), unit },
        ]
      : []),
    { name: 'commit', value: commit, unit: 'ms', target: { first: 1000, goal: 1000 } },
  ]
}

function costFigures(
  { cpuUs, peakKib: importer }: Imported,
  messages: number,
  { spent, memory }: { spent: readonly [number, number]; memory: number },
): Figure[] {
  const mib = 1024
  const most = (goal: number) => ({ first: goal, goal })
  return [
    { name: 'CPU server', value: spent[0] / messages, unit: 'µs' },
    { name: 'CPU PostgreSQL', value: spent[1] / messages, unit: 'µs' },
    { name: 'CPU importer', value: cpuUs / messages, unit: 'µs' },
    { name: 'memory of the server', value: memory / mib, unit: 'MiB', target: most(512) },
    { name: 'memory of the importer', value: importer / mib, unit: 'MiB', target: most(256) },
  ]
}

const liveFigures = (idle: number[], beside: number[], ratio: number): Figure[] => [
  { name: 'live send alone, p50', value: quantile(idle, 0.5), unit: 'ms' },
  { name: 'live send alone, p99', value: quantile(idle, 0.99), unit: 'ms' },
  { name: 'live send beside, p50', value: quantile(beside, 0.5), unit: 'ms' },
  { name: 'live send beside, p99', value: quantile(beside, 0.99), unit: 'ms' },
  { name: 'p99 beside to alone', value: ratio, unit: '×', target: { first: 1.5, goal: bearable } },
]

const exactly = (name: string, value: number, count: number): Figure => ({
  name,
  value,
  unit: '',
  target: { exactly: count },
})

const undoFigure = (value: number): Figure => ({
  name: 'undo',
  value,
  unit: 'ms',
  target: { first: 1000, goal: 1000 },
})

const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-import-'))
try {
  if (only.some((part) => part !== 'batch-send')) await rounds()
  if (only.includes('batch-send')) {
    const { against } = options
    const quick = bench.short
    const told = await batchSend(options['batch-messages'], { against, folder, quick })
    if (told.against !== undefined) bench.against = told.against
    bench.tell('batch_send, 100 at a time', told.figures)
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
bench.chart('CPU of a message', ['CPU server', 'CPU PostgreSQL', 'CPU importer'], { stacked: true })
bench.chart('Live sends', ['live send alone, p99', 'live send beside, p99'])
bench.finish()

async function rounds(): Promise<void> {
  await withWholeServer(
    async (server) => {
      const admin = await server.register('importer', true)
      const live = await LiveSends.open(server)
      const round = new Round(server, { admin, live, folder })
      if (only.includes('one') || only.includes('middle')) await round.oneRoom()
      if (only.includes('many')) await round.manyRooms()
      if (only.includes('live')) await round.live()
      if (only.includes('rates')) await round.rates()
    },
    { quick: bench.short, laneway: { workers: options.workers } },
  )
}
