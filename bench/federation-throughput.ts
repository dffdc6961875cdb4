import type { Login } from '#test/laneway.ts'
import { openBench, type Figure } from './figures.ts'
import { countKept, type FloodStage, joinRooms, waiting, withFloodStage } from './flood-stage.ts'
import { now, type Sent, type Traffic, type TrafficKind } from './origins/protocol.ts'
import { floorUs, quantile } from './stand.ts'
import { SyncReader } from './sync-reader.ts'
import type { Kind } from './whole-server.ts'

const help = `
How many events of other servers a server takes in, until a client can read them in its /sync, and what
each costs. Simulated origins, which are a process of their own, sign real events before the clock
starts, and send them in transactions of up to 50, each origin one at a time, over TLS. Of a hundred
events one changes the state, one is a join and one is wrongly signed; in each room several origins
speak at once, so that it forks, and each goes on from what the others' last transaction brought.

  bun run bench federation-throughput [--form all] [--rooms 100] [--origins 10] [--speakers 2]
    [--events 20000] [--room-events 10000] [--member-events 3000] [--room-origins 8]
    [--warm 20000] [--against synapse] [--against-events 2000]

  --form rooms    messages in many rooms, each of which some of the origins speak in
  --form room     messages in one room, in which all of --room-origins speak
  --form members  joins and changes of names in one room: its state is in conflict all the time

A client reads all of it in one long poll after another, and the server's work for that counts. What
was kept must be what was valid, each once, and nothing else: otherwise it ends with 1.
`

const bench = openBench(
  'federation-throughput',
  help,
  {
    form: 'all',
    rooms: 100,
    origins: 10,
    speakers: 2,
    events: 20_000,
    'room-events': 10_000,
    'member-events': 3_000,
    'room-origins': 8,
    warm: 20_000,
    txn: 50,
    version: 11,
    /** How long a client takes between two polls. */
    'pause-ms': 50,
    against: '',
    'against-events': 2_000,
  },
  {
    rooms: 20,
    events: 2_000,
    'room-events': 1_500,
    'member-events': 600,
    warm: 500,
    'against-events': 300,
  },
)
const { options } = bench

/** No event for so long, and no more will come. */
const patienceMs = 30_000

type Form = {
  name: string
  title: string
  kind: TrafficKind
  rooms: number
  speakers: number
  events: number
  /** Figures of it, by their names. */
  targets: Record<string, Figure['target']>
}

const cpu = { first: 300, goal: 200 }

const forms: Form[] = [
  {
    name: 'rooms',
    title: `${options.rooms} rooms, ${options.origins} origins`,
    kind: 'messages',
    rooms: options.rooms,
    speakers: options.speakers,
    events: options.events,
    targets: {
      rate: { first: 3_000, goal: 6_000, more: true },
      cpu,
      bytes: { first: 2_500, goal: 1_500 },
    },
  },
  {
    name: 'room',
    title: `one room, ${options['room-origins']} origins`,
    kind: 'messages',
    rooms: 1,
    speakers: options['room-origins'],
    events: options['room-events'],
    targets: { rate: { first: 1_000, goal: 2_500, more: true } },
  },
  {
    name: 'members',
    title: `member events of one room, ${options['room-origins']} origins`,
    kind: 'members',
    rooms: 1,
    speakers: options['room-origins'],
    events: options['member-events'],
    targets: { rate: { first: 200, goal: 1_000, more: true } },
  },
]

type Outcome = {
  sent: Sent
  seconds: number
  serverUs: number
  postgresUs: number
  bytes: number
  kept: Awaited<ReturnType<typeof countKept>>
  valid: number
  version: string
}

/** Sends all, and reads until nothing is missing. */
async function measure(
  { server, origins }: FloodStage,
  reader: Login,
  traffic: Traffic,
): Promise<Outcome> {
  const wanted = new Set(Object.values(traffic.valid).flat())
  const valid = wanted.size
  const [set] = origins
  const bytesBefore = await server.databaseBytes()
  let last = 0
  // What was there before it reads at once, and that is no cost of what comes.
  const client = await SyncReader.start(
    reader,
    {
      onEvent: (_, event, at) => {
        if (wanted.delete(event.event_id)) last = at
      },
    },
    options['pause-ms'],
  )
  const before = await server.spent()
  const began = now()
  const sent = await set!.call('send', { traffic: traffic.id })
  const answered = now()
  while (wanted.size > 0 && now() - Math.max(last, answered) < patienceMs) await Bun.sleep(20)
  const after = await server.spent()
  await client.stop()
  while ((await waiting(server)) > 0 && now() - last < patienceMs) await Bun.sleep(100)
  const bytes = (await server.databaseBytes()) - bytesBefore
  const [serverUs, postgresUs] = after.map((us, n) => (us - before[n]!) / valid) as [number, number]
  const kept = await countKept(reader, traffic.valid, traffic.wrong)
  const seconds = (last - began) / 1000
  return { sent, seconds, serverUs, postgresUs, bytes, kept, valid, version: server.version }
}

async function runForm(form: Form, kind: Kind): Promise<Outcome> {
  let outcome: Outcome | undefined
  const count = form.name === 'rooms' ? options.origins : form.speakers
  await withFloodStage({ kind, sets: [count], quick: bench.short }, async (stage) => {
    const [set] = stage.origins
    const [reader] = await stage.server.people(1, 'reader')
    const rooms = await set!.call('rooms', {
      count: form.rooms,
      version: String(options.version),
      speakers: form.speakers,
    })
    await joinRooms(reader!, rooms)
    const shares = { state: 0.01, joins: 0.01, wrong: 0.01, txn: options.txn }
    const ids = rooms.map(({ roomId }) => roomId)
    const isOther = kind !== 'laneway'
    // A server that has run for weeks has its code compiled once.
    const warm = await set!.call('make', {
      ...shares,
      rooms: ids,
      kind: 'messages',
      events: isOther ? Math.min(200, options.warm) : options.warm,
    })
    await measure(stage, reader!, warm)
    const events = isOther ? Math.min(options['against-events'], form.events) : form.events
    const traffic = await set!.call('make', { ...shares, rooms: ids, kind: form.kind, events })
    outcome = await measure(stage, reader!, traffic)
  })
  return outcome!
}

function figuresOf(form: Form, ours: Outcome, theirs: Outcome | undefined): Figure[] {
  const rate = ({ kept, seconds }: Outcome) => kept.kept / seconds
  const sum = ({ serverUs, postgresUs }: Outcome) => serverUs + postgresUs
  const figure = (
    name: string,
    unit: string,
    value: (outcome: Outcome) => number,
    target?: Figure['target'],
  ): Figure => ({
    name,
    unit,
    value: value(ours),
    ...(target && { target }),
    ...(theirs && { against: value(theirs) }),
  })
  const { kept, valid } = ours
  return [
    figure('readable by a client', 'PDU/s', rate, form.targets['rate']),
    figure('CPU per PDU, server', 'µs', ({ serverUs }) => serverUs),
    figure('CPU per PDU, PostgreSQL', 'µs', ({ postgresUs }) => postgresUs),
    figure('CPU per PDU, both', 'µs', sum, form.targets['cpu']),
    { name: 'to the floor', unit: '×', value: sum(ours) / floorUs },
    figure('answered', 'PDU/s', ({ sent }) => sent.answered / sent.seconds),
    figure('a transaction is answered, p50', 'ms', ({ sent }) => quantile(sent.latencies, 0.5)),
    figure('a transaction is answered, p99', 'ms', ({ sent }) => quantile(sent.latencies, 0.99)),
    figure('answers of 429', '', ({ sent }) => sent.limited),
    figure(
      'database per valid event',
      'bytes',
      (outcome) => outcome.bytes / outcome.valid,
      form.targets['bytes'],
    ),
    { name: 'valid events that are kept', unit: '', value: kept.kept, target: { exactly: valid } },
    { name: 'kept twice', unit: '', value: kept.doubled, target: { exactly: 0 } },
    { name: 'wrongly signed and kept', unit: '', value: kept.wrong, target: { exactly: 0 } },
  ]
}

const chosen = forms.filter(({ name }) => options.form === 'all' || options.form === name)
if (chosen.length === 0) throw new Error('--form wants all, rooms, room or members')
for (const form of chosen) {
  const ours = await runForm(form, 'laneway')
  const theirs = options.against === '' ? undefined : await runForm(form, options.against as Kind)
  if (theirs) bench.against = theirs.version
  bench.tell(form.title, figuresOf(form, ours, theirs))
}
bench.chart('Events that a client can read', ['readable by a client'])
bench.chart('CPU of an event', ['CPU per PDU, server', 'CPU per PDU, PostgreSQL'], {
  stacked: true,
})
bench.finish()
