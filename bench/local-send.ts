import type { Login } from '#test/laneway.ts'
import { type Figure, cpuFigures, latencyFigures, openBench } from './figures.ts'
import { besides, inParallel, type WholeServer, withServers } from './whole-server.ts'

const help = `
How long it takes from a client's PUT …/send to the /sync of another client, through the HTTP server
as an operator starts it. Messages set off at a fixed rate, whether or not earlier ones are answered;
each room has a sender and a reader who waits in a long poll.

  bun run bench local-send [--rooms 10] [--seconds 5] [--rates 20,100,300,600]
    [--against synapse]

Tells for each rate: what was reached, the latency from the planned time of a message to its event in
the reader's /sync, and the CPU of server and PostgreSQL per message, apart. Beside a Synapse the rates
are by default 10, 20 and 40, which it can follow. The clients run on the same machine and take their
share.
`

const bench = openBench(
  'local-send',
  help,
  { rooms: 10, seconds: 5, rates: '', against: '' },
  { rooms: 4, seconds: 1, rates: '20,100' },
)
const { options } = bench
const usual = options.against === '' ? '20,100,300,600' : '10,20,40'
const rates = (options.rates === '' ? usual : options.rates).split(',').map(Number)
if (rates.some((rate) => !(rate > 0))) throw new Error('--rates wants numbers above 0')

const wholeTimeline = encodeURIComponent('{"room":{"timeline":{"limit":500}}}')

type Room = { roomId: string; sender: Login; reader: Login; since: string }
type Staged = { server: WholeServer; rooms: Room[] }

await withServers({ against: options.against, quick: bench.short }, async (own, other) => {
  if (other) bench.against = other.version
  const staged = await stage(own)
  const beside = other && (await stage(other))
  for (const rate of rates) {
    const figures = await measure(staged, rate)
    const title = `${rate} messages/s in ${staged.rooms.length} rooms`
    bench.tell(title, beside ? besides(figures, await measure(beside, rate)) : figures)
  }
})
bench.chart('From the planned send to the other client’s /sync', ['p50', 'p99'])
bench.chart('CPU of a message', ['CPU server', 'CPU PostgreSQL'], { stacked: true })
bench.finish()

/** Rooms of two people each, who have talked for a while. */
async function stage(server: WholeServer): Promise<Staged> {
  const rooms: Room[] = []
  const numbers = Array.from({ length: options.rooms }, (_, n) => n)
  const people = await server.people(2 * options.rooms)
  await inParallel(numbers, 4, async (n) => {
    rooms[n] = await makeRoom(people[2 * n]!, people[2 * n + 1]!)
  })
  await run(rooms, Math.min(50, rates[0]!), 2)
  return { server, rooms }
}

async function makeRoom(sender: Login, reader: Login): Promise<Room> {
  const { room_id: roomId } = await sender.ask<{ room_id: string }>(
    'POST',
    '/_matrix/client/v3/createRoom',
    { preset: 'public_chat' },
  )
  await reader.ask('POST', `/_matrix/client/v3/join/${encodeURIComponent(roomId)}`, {})
  const { next_batch: since } = await reader.get<{ next_batch: string }>('/_matrix/client/v3/sync')
  return { roomId, sender, reader, since }
}

/** Messages by their body: when each was planned, answered and seen. */
type Sent = { planned: number; seen?: number }

async function run(rooms: readonly Room[], rate: number, seconds: number) {
  const sent = new Map<string, Sent>()
  const count = Math.ceil(rate * seconds)
  const end = new AbortController()
  const prefix = crypto.randomUUID()
  let seen = 0
  const reading = rooms.map((room) =>
    follow(room, end.signal, (body) => {
      const message = sent.get(body)
      if (!message || message.seen !== undefined) return
      message.seen = performance.now()
      if (++seen === count) end.abort()
    }),
  )
  const began = performance.now()
  const sending: Promise<unknown>[] = []
  for (let n = 0; n < count; n++) {
    const planned = began + (1000 * n) / rate
    const early = planned - performance.now()
    if (early > 1) await Bun.sleep(early)
    const { roomId, sender } = rooms[n % rooms.length]!
    const body = `${prefix}-${n}`
    sent.set(body, { planned })
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/${body}`
    sending.push(sender.ask('PUT', path, { msgtype: 'm.text', body }))
  }
  await Promise.all(sending)
  const late = setTimeout(() => end.abort(), 20_000)
  await Promise.all(reading)
  clearTimeout(late)
  const done = [...sent.values()].flatMap(({ planned, seen: at }) =>
    at === undefined ? [] : { latency: at - planned, at },
  )
  const took = Math.max(...done.map(({ at }) => at)) - began
  return { count, took, latencies: done.map(({ latency }) => latency).sort((a, b) => a - b) }
}

/** Reads a room by long polls. */
async function follow(
  room: Room,
  signal: AbortSignal,
  onMessage: (body: string) => void,
): Promise<void> {
  while (!signal.aborted) {
    const answer = await room.reader.get<{
      next_batch: string
      rooms?: { join?: Record<string, { timeline: { events: { content: { body?: string } }[] } }> }
    }>(`/_matrix/client/v3/sync?since=${room.since}&timeout=1000&filter=${wholeTimeline}`)
    room.since = answer.next_batch
    for (const { content } of answer.rooms?.join?.[room.roomId]?.timeline.events ?? [])
      if (content.body !== undefined) onMessage(content.body)
  }
}

async function measure({ server, rooms }: Staged, rate: number): Promise<Figure[]> {
  let seen: Awaited<ReturnType<typeof run>> | undefined
  const spent = await server.costOf(async () => (seen = await run(rooms, rate, options.seconds)))
  const { count, took, latencies } = seen!
  return [
    { name: 'reached', value: (1000 * latencies.length) / took, unit: 'messages/s' },
    { name: 'not seen', value: count - latencies.length, unit: '', target: { exactly: 0 } },
    ...latencyFigures(latencies),
    ...cpuFigures(spent, count),
  ]
}
