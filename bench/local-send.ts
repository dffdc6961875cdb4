import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificates } from '#test/certificates.ts'
import { freePorts, Laneway, type Login } from '#test/laneway.ts'
import { familyUs, floorUs, numbersOf, printBlock, processUs, quantile } from './stand.ts'

const help = `
How long it takes from a client's PUT …/send to the /sync of another client, through the HTTP server
as an operator starts it, with its embedded PostgreSQL. Messages set off at a fixed rate, whether or
not earlier ones are answered; each room has a sender and a reader who waits in a long poll.

  bun bench/local-send.ts [--rooms 10] [--seconds 5] [--rate R]

Prints for 20, 100, 300 and 600 messages per second (or the one rate that is given): what was reached,
the latency from the planned time of a message to its event in the reader's /sync, and the CPU of
server and PostgreSQL per message, apart. The clients run on the same machine and take their share.
`

const options = numbersOf(help, { rooms: 10, seconds: 5, rate: Infinity })
const rates = options.rate === Infinity ? [20, 100, 300, 600] : [options.rate]

const wholeTimeline = encodeURIComponent('{"room":{"timeline":{"limit":500}}}')

type Room = { roomId: string; sender: Login; reader: Login; since: string }

const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
const certificates = await makeCertificates(`${folder}/certificates`)
const [tls, client] = await freePorts(2)
const laneway = await Laneway.prepare(`${folder}/laneway`, {
  ports: { tls: tls!, client: client! },
  certificates,
})
await laneway.start()
try {
  const rooms = await Promise.all(Array.from({ length: options.rooms }, (_, n) => makeRoom(n)))
  await run(rooms, Math.min(50, rates[0]!), 2)
  for (const rate of rates) await measure(rooms, rate)
} finally {
  await laneway.stop()
  await rm(folder, { recursive: true, force: true })
}

async function makeRoom(n: number): Promise<Room> {
  const [sender, reader] = await Promise.all([
    laneway.register(`sender${n}`),
    laneway.register(`reader${n}`),
  ])
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

async function measure(rooms: readonly Room[], rate: number): Promise<void> {
  const server = laneway.pid!
  const postmaster = await postmasterOf(`${laneway.directory}/data`)
  const before = await Promise.all([processUs(server), familyUs(postmaster)])
  const { count, took, latencies } = await run(rooms, rate, options.seconds)
  const after = await Promise.all([processUs(server), familyUs(postmaster)])
  const [own, postgres] = after.map((us, n) => (us - before[n]!) / count) as [number, number]
  const ms = (share: number) => `${quantile(latencies, share).toFixed(1)} ms`
  printBlock(`local-send: ${rate} messages/s for ${options.seconds} s in ${rooms.length} rooms`, [
    [
      'reached',
      `${((1000 * latencies.length) / took).toFixed(0)} messages/s, ${count - latencies.length} not seen`,
    ],
    ["send to the other's /sync", `p50 ${ms(0.5)}, p99 ${ms(0.99)}, worst ${ms(1)}`],
    [
      'CPU per message',
      `server ${own.toFixed(0)} µs, PostgreSQL ${postgres.toFixed(0)} µs, sum ${(own + postgres).toFixed(0)} µs`,
    ],
    [
      'to the floor',
      `${((own + postgres) / floorUs).toFixed(1)} times ${floorUs} µs, with two HTTP requests and a /sync`,
    ],
  ])
}

async function postmasterOf(dataDir: string): Promise<number> {
  return Number((await readFile(`${dataDir}/postgres/postmaster.pid`, 'utf8')).split('\n')[0])
}
