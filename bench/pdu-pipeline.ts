import { parseJson } from '#core/canonical-json.ts'
import type { Json } from '#core/json.ts'
import { SHARDS } from '#core/shard.ts'
import { Intake } from '#engine/federation/intake.ts'
import { EventIndex } from '#engine/read/event-index.ts'
import { silentLog } from '#src/log.ts'
import { MadeUpServer, type MadeUpRoom } from '#test/builders.ts'
import { createRoom, joinFrom, openStage, type Stage } from '#test/room-engine.ts'
import { cpuFigures, openBench } from './figures.ts'
import { floorUs, type Stand, withStand } from './stand.ts'

const help = `
What it costs to take events of other servers in, from the text of a transaction to the commit of
its events, without a network: parsed, checked at the intake, made durable in the inbox, verified
(one signature each), judged and persisted, all in this process. Really signed messages of 771 bytes
in rooms with a user of each origin; each origin has one transaction in hand at a time.

  bun run bench pdu-pipeline [--rooms 8] [--origins 4] [--events 20000] [--version 11] [--txn 50]
    [--warm 20000]

Before that it takes in as many others (--warm), which are not counted: a server that runs for weeks
has its code compiled once. Prints events per second, the CPU of server and PostgreSQL per event apart, and their sum beside the
floor of ${floorUs} µs; then what it costs the main thread to index them for relations and search. Where the time goes: bun --cpu-prof bench/pdu-pipeline.ts
`

const bench = openBench(
  'pdu-pipeline',
  help,
  {
    rooms: 8,
    origins: 4,
    events: 20_000,
    version: 11,
    txn: 50,
    warm: 20_000,
    /** Events of one room that are sent and not yet persisted. */
    window: 300,
  },
  { events: 1_000, warm: 200 },
)
const { options } = bench

/** The bytes of a PDU that the floor was measured with. */
const pduBytes = 771

/** What messages say: words, as many and as long as people's, for those who search. */
const words = Array.from({ length: 200 }, (_, n) =>
  (n * 2_654_435_761).toString(36).slice(0, 2 + (n % 8)),
).join(' ')

type Origin = { server: MadeUpServer; bodies: string[] }

async function run(stand: Stand): Promise<void> {
  const servers = Array.from(
    { length: options.origins },
    (_, index) => new MadeUpServer(`origin-${index}.test`),
  )
  const database = { ...stand, close: async () => {}, [Symbol.asyncDispose]: async () => {} }
  const stage = await openStage(database, servers)
  try {
    const rooms: MadeUpRoom[] = []
    for (let index = 0; index < options.rooms; index++) {
      const roomId = await createRoom(stage, String(options.version))
      rooms.push(await joinFrom(stage, database, roomId, servers[index % servers.length]!, 'bob'))
    }
    const before = stage.engine.counters()['accepted']!
    await send(stand, stage, before, originsOf(servers, rooms, options.warm))
    const origins = originsOf(servers, rooms, options.events)
    Bun.gc(true)
    const index = new EventIndex({ sql: stand.pool, log: silentLog, patienceMs: 600_000 })
    const shards = Array.from({ length: SHARDS }, (_, shard) => shard)
    await index.reach(shards)
    await measure(stand, stage, origins)
    await measureIndex(stand, () => index.reach(shards))
    await index.stop()
  } finally {
    await stage.stop()
  }
}

/** What each origin will send: every room's events in order, the rooms of an origin mixed. */
function originsOf(
  servers: readonly MadeUpServer[],
  rooms: readonly MadeUpRoom[],
  count: number,
): Origin[] {
  return servers.map((server, origin) => {
    const own = rooms.filter((_, index) => index % servers.length === origin)
    const events = own.length === 0 ? 0 : Math.round(count / servers.length)
    const pdus = Array.from({ length: events }, (_, n) => message(own[n % own.length]!, server))
    const bodies: string[] = []
    for (let from = 0; from < pdus.length; from += options.txn)
      bodies.push(
        `{"origin":"${server.name}","origin_server_ts":1,"pdus":[${pdus.slice(from, from + options.txn).join(',')}]}`,
      )
    return { server, bodies }
  })
}

/** The next message of a room, filled up to the wanted size. */
function message(room: MadeUpRoom, server: MadeUpServer): string {
  const user = server.user('bob')
  const bare = room.make(user, 'm.room.message', { msgtype: 'm.text', body: '' }).text.length
  const { event, text } = room.say(user, words.slice(0, Math.max(0, pduBytes - bare)))
  // Only the last one is cited again.
  room.events.clear()
  room.events.set(event.eventId, { event, text })
  return text
}

/** Sends all there is; resolves when it is persisted. `before` were persisted before. */
async function send(
  { pool }: Stand,
  { rooms, engine }: Stage,
  before: number,
  origins: readonly Origin[],
): Promise<number> {
  const intake = new Intake({
    serverName: 'us.test',
    sql: pool,
    log: silentLog,
    clock: Date.now,
    rooms,
    takeEdus: async () => {},
    limits: { pdusPerSecond: 1e9, pdusAtOnce: 1e9, maxLagMs: Infinity },
  })
  let sent = 0
  let pause: Promise<void> | undefined
  // One timer for all origins: waiting should cost nothing that counts.
  const moment = () => (pause ??= Bun.sleep(5).then(() => (pause = undefined)))
  const persisted = () => engine.parts.counters.accepted - before
  await Promise.all(
    origins.map(async ({ server, bodies }) => {
      for (const [index, body] of bodies.entries()) {
        const { pdus } = parseJson(body) as { pdus: Json[] }
        sent += pdus.length
        const txnId = `${before}-${index}`
        const answer = await intake.take(server.name, txnId, { pdus, edus: [] })
        if (answer.includes('error')) throw new Error(answer)
        while (sent - persisted() > options.window * options.rooms) await moment()
      }
    }),
  )
  while (persisted() < sent || engine.parts.persister.pending > 0) await moment()
  await engine.parts.persister.idle()
  intake.stop()
  return sent
}

async function measure(stand: Stand, stage: Stage, origins: readonly Origin[]): Promise<void> {
  const before = stage.engine.counters()
  const postgresBefore = await stand.postgresUs()
  const cpu = process.cpuUsage()
  const began = performance.now()
  const sent = await send(stand, stage, before['accepted']!, origins)
  const seconds = (performance.now() - began) / 1000
  const used = process.cpuUsage(cpu)
  const postgres = (await stand.postgresUs()) - postgresBefore
  if (stage.errors.length > 0) throw stage.errors[0]
  const after = stage.engine.counters()
  const server = used.user + used.system
  const commits = after['commits']! - before['commits']!
  bench.tell('a PDU taken in', [
    { name: 'rate', value: sent / seconds, unit: 'PDU/s' },
    ...cpuFigures([server, postgres], sent),
    {
      name: `to the floor of ${floorUs} µs`,
      value: (server + postgres) / sent / floorUs,
      unit: '×',
      target: { first: 2.5, goal: 1.7 },
    },
    { name: 'PDUs in a commit', value: sent / commits, unit: '' },
    {
      name: 'not accepted',
      value: sent - (after['accepted']! - before['accepted']!),
      unit: '',
      target: { exactly: 0 },
    },
  ])
}

/** What it costs to index what was persisted, which nobody waits for; the words of each are read. */
async function measureIndex({ postgresUs }: Stand, index: () => Promise<void>): Promise<void> {
  const [before, cpu, began] = [await postgresUs(), process.cpuUsage(), performance.now()]
  await index()
  const [ms, used] = [performance.now() - began, process.cpuUsage(cpu)]
  const spent = [used.user + used.system, (await postgresUs()) - before] as const
  bench.tell('indexing it for relations and search, behind', [
    { name: 'rate', value: (1000 * options.events) / ms, unit: 'PDU/s' },
    ...cpuFigures(spent, options.events),
  ])
}

await withStand(run, { quick: bench.short })
bench.chart('CPU of a PDU', ['CPU server', 'CPU PostgreSQL'], { stacked: true })
bench.finish()
