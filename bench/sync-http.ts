import type { Login } from '#test/laneway.ts'
import { type Figure, cpuFigures, latencyFigures, openBench } from './figures.ts'
import { besides, inParallel, type WholeServer, withServers } from './whole-server.ts'

const help = `
What a /sync costs through the HTTP server, for a user in many rooms: the first one, and one after a
message to one of the rooms. For a comparison with another server; bun run bench sync takes ours apart.

  bun run bench sync-http [--rooms 200] [--rounds 200] [--against synapse]

The CPU of the second is that of rounds of a message and a /sync, less that of as many messages alone.
`

const bench = openBench(
  'sync-http',
  help,
  { rooms: 200, rounds: 200, against: '' },
  { rooms: 8, rounds: 10 },
)
const { options } = bench

type Staged = { server: WholeServer; rooms: string[]; sender: Login; reader: Login }

type SyncAnswer = {
  next_batch: string
  rooms?: { join?: Record<string, { timeline: { events: { content: { body?: string } }[] } }> }
}

const rounds = Array.from({ length: options.rounds }, (_, n) => n)

await withServers({ against: options.against, quick: bench.short }, async (own, other) => {
  if (other) bench.against = other.version
  const staged = await stage(own)
  const beside = other && (await stage(other))
  for (const [title, measure] of [
    [`the first, of ${options.rooms} rooms`, first],
    [`1 of ${options.rooms} rooms changed`, incremental],
  ] as const) {
    const figures = await measure(staged)
    bench.tell(title, beside ? besides(figures, await measure(beside)) : figures)
  }
})
bench.chart('Until /sync is answered', ['p50', 'p99'])
bench.chart('CPU of a /sync', ['CPU server', 'CPU PostgreSQL'], { stacked: true })
bench.finish()

async function stage(server: WholeServer): Promise<Staged> {
  const [sender, reader] = (await server.people(2)) as [Login, Login]
  const rooms: string[] = []
  const numbers = Array.from({ length: options.rooms }, (_, n) => n)
  await inParallel(numbers, 4, async (n) => {
    const wish = { preset: 'public_chat', name: `Room ${n}` }
    const path = '/_matrix/client/v3/createRoom'
    const { room_id: roomId } = await sender.ask<{ room_id: string }>('POST', path, wish)
    await reader.ask('POST', `/_matrix/client/v3/join/${encodeURIComponent(roomId)}`, {})
    rooms[n] = roomId
  })
  return { server, rooms, sender, reader }
}

/** Answers of the first /sync may be kept for who asks the same again: each asks with another filter. */
async function first({ server, rooms, reader }: Staged): Promise<Figure[]> {
  const times: number[] = []
  let missing = 0
  const count = bench.short ? 2 : 10
  const spent = await server.costOf(async () => {
    for (let n = 0; n < count; n++) {
      const filter = encodeURIComponent(JSON.stringify({ room: { timeline: { limit: 10 + n } } }))
      const began = performance.now()
      const answer = await reader.get<SyncAnswer>(`/_matrix/client/v3/sync?filter=${filter}`)
      times.push(performance.now() - began)
      missing += rooms.length - Object.keys(answer.rooms?.join ?? {}).length
    }
  })
  return [
    ...latencyFigures(times),
    ...cpuFigures(spent, count),
    { name: 'rooms missing', value: missing, unit: '', target: { exactly: 0 } },
  ]
}

async function incremental({ server, rooms, sender, reader }: Staged): Promise<Figure[]> {
  const times: number[] = []
  const say = async (n: number, prefix: string) => {
    const roomId = rooms[(n * 7) % rooms.length]!
    const body = `${prefix}${n}`
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/${body}`
    await sender.ask('PUT', path, { msgtype: 'm.text', body })
    return { roomId, body }
  }
  for (const n of rounds.slice(0, 20)) await say(n, 'warm')
  let { next_batch: since } = await reader.get<SyncAnswer>('/_matrix/client/v3/sync')
  let missing = 0
  const both = await server.costOf(async () => {
    for (const n of rounds) {
      const { roomId, body } = await say(n, 'read')
      const began = performance.now()
      const path = `/_matrix/client/v3/sync?since=${encodeURIComponent(since)}&timeout=10000`
      const answer = await reader.get<SyncAnswer>(path)
      times.push(performance.now() - began)
      since = answer.next_batch
      const events = answer.rooms?.join?.[roomId]?.timeline.events ?? []
      if (!events.some(({ content }) => content.body === body)) missing++
    }
  })
  const alone = await server.costOf(async () => {
    for (const n of rounds) await say(n, 'alone')
  })
  return [
    ...latencyFigures(times),
    ...cpuFigures([both[0] - alone[0], both[1] - alone[1]], rounds.length),
    { name: 'messages missing', value: missing, unit: '', target: { exactly: 0 } },
  ]
}
