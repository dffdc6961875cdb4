import type { Steps } from '#core/state-res/steps.ts'
import type { Pool } from '#store/db.ts'
import * as authGraphs from '#store/room/auth-graphs.ts'
import type { Login } from '#test/laneway.ts'
import { type Figure, latencyFigures, openBench } from './figures.ts'
import { type FloodStage, joinRooms, waiting, withFloodStage } from './flood-stage.ts'
import { type MadeRoom, now, type TrafficKind } from './origins/protocol.ts'
import { SyncReader } from './sync-reader.ts'
import { besides, databaseBytes, type Kind, type WholeServer } from './whole-server.ts'

const help = `
A user joins a room of another server, which has many members and much other state; then its state
changes, and then members of ten servers speak of themselves at once, so that branches of the room are in
conflict. Tells how long the join takes and when the user can first send, what a change of state takes of
the disk and of time, and what the latency is in quiet rooms meanwhile, in which every second something is
said.

  bun run bench big-room [--members 10000] [--states 10000] [--origins 10] [--changes 500]
    [--conflicts 1000] [--quiet-rooms 20] [--seconds 10] [--against synapse]
`

const bench = openBench(
  'big-room',
  help,
  {
    members: 10_000,
    states: 10_000,
    origins: 10,
    changes: 500,
    conflicts: 1_000,
    'quiet-rooms': 20,
    seconds: 10,
    version: 11,
    against: '',
  },
  { members: 300, states: 300, changes: 50, conflicts: 50, 'quiet-rooms': 5, seconds: 2 },
)
const { options } = bench

/** No event for so long, and no more will come. */
const patienceMs = 60_000
const version = String(options.version)

/** Figures by what they are of. */
type Told = Map<string, Figure[]>

const ours = await measureAll('laneway')
const theirs = options.against === '' ? undefined : await measureAll(options.against as Kind)
for (const [title, figures] of ours) {
  const other = theirs?.get(title)
  bench.tell(title, other ? besides(figures, other) : figures)
}
bench.chart('In quiet rooms, from when a message was due to a client’s /sync', ['p50', 'p99'], {
  groups: [...ours.keys()].filter((title) => title.startsWith('quiet rooms')),
})
bench.chart('Joining', ['until the join is answered', 'until the first message is sent'])
bench.finish()

async function measureAll(kind: Kind): Promise<Told> {
  const told: Told = new Map()
  const sets = [options.origins, 2]
  await withFloodStage({ kind, sets, quick: bench.short }, async (stage) => {
    const { server, origins } = stage
    if (kind === 'synapse') bench.against = server.version
    const [big, quiet] = [origins[0]!, origins[1]!]
    const [room] = await big.call('rooms', { count: 1, version, speakers: options.origins })
    const size = { members: options.members, states: options.states }
    const state = await big.call('fill', { roomId: room!.roomId, ...size })
    const [visitor, reader] = await server.people(2)
    const quietRooms = await quiet.call('rooms', {
      count: options['quiet-rooms'],
      version,
      speakers: 1,
    })
    await joinRooms(reader!, quietRooms)
    const beside = <T>(title: string, work: () => Promise<T>) =>
      besideQuietRooms(stage, { reader: reader!, quietRooms, told, title }, work)

    await beside('quiet rooms, idle', async () => undefined)
    const joined = await beside('quiet rooms, while it is joined', () =>
      join(server.url, visitor!, room!),
    )
    told.set(`joining a room with ${state} state events`, joined)
    await settle(server)
    const changes = await beside('quiet rooms, while its state changes', () =>
      change(stage, { visitor: visitor!, room: room!, kind: 'messages', events: options.changes }),
    )
    told.set('a change of its state', changes)
    const conflicts = await beside('quiet rooms, while its branches conflict', () =>
      change(stage, { visitor: visitor!, room: room!, kind: 'members', events: options.conflicts }),
    )
    told.set('a member event in conflicting branches', conflicts)
    if (kind === 'laneway') told.set('its auth chains', await authDifference(server.stand.pool))
  })
  return told
}

/** Works while something is said in the quiet rooms, and tells how soon a client has it. */
async function besideQuietRooms<T>(
  { origins }: FloodStage,
  of: { reader: Login; quietRooms: readonly MadeRoom[]; told: Told; title: string },
  work: () => Promise<T>,
): Promise<T> {
  const seen = new Map<string, number>()
  const client = await SyncReader.start(of.reader, {
    onEvent: (_, { event_id: id }, at) => {
      if (!seen.has(id)) seen.set(id, at)
    },
  })
  const rooms = of.quietRooms.map(({ roomId }) => roomId)
  const ticking = origins[1]!.call('ticks', { rooms, seconds: options.seconds, everyMs: 1000 })
  const result = await work()
  const ticks = await ticking
  for (const end = now() + patienceMs; ticks.some(({ eventId }) => !seen.has(eventId));) {
    if (now() > end) break
    await Bun.sleep(20)
  }
  await client.stop()
  const latencies = ticks.flatMap(({ eventId, due }) => {
    const at = seen.get(eventId)
    return at === undefined ? [] : [at - due]
  })
  of.told.set(of.title, [
    ...latencyFigures(latencies),
    { name: 'not seen', value: ticks.length - latencies.length, unit: '', target: { exactly: 0 } },
  ])
  return result
}

/** How long until a user is in, and can speak. */
async function join(base: string, visitor: Login, { roomId, via }: MadeRoom): Promise<Figure[]> {
  const began = now()
  const path = `/_matrix/client/v3/join/${encodeURIComponent(roomId)}?server_name=${encodeURIComponent(via)}`
  await ask(base, visitor, 'POST', path, {})
  const joined = now()
  const send = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/first`
  await ask(base, visitor, 'PUT', send, { msgtype: 'm.text', body: 'Hello' })
  const sent = now()
  const { joined: members } = (await ask(
    base,
    visitor,
    'GET',
    `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/joined_members`,
  )) as { joined: Record<string, unknown> }
  return [
    { name: 'until the join is answered', value: joined - began, unit: 'ms' },
    { name: 'until the first message is sent', value: sent - began, unit: 'ms' },
    {
      name: 'members',
      value: Object.keys(members).length,
      unit: '',
      // With the owner of the room, a speaker of each server, and the visitor.
      target: { exactly: options.members + options.origins + 2 },
    },
  ]
}

/** A request that may take long. */
async function ask(
  base: string,
  login: Login,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> {
  const response = await fetch(base + path, {
    method,
    headers: { authorization: `Bearer ${login.token}`, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(900_000),
  })
  if (!response.ok) throw new Error(`${response.status} from ${path}: ${await response.text()}`)
  return response.json()
}

/** Sends events that all change the state, until a client has read them. */
async function change(
  { server, origins }: FloodStage,
  of: { visitor: Login; room: MadeRoom; kind: TrafficKind; events: number },
): Promise<Figure[]> {
  const bytesBefore = await databaseBytes(server.stand.pool)
  const { roomId } = of.room
  const traffic = await origins[0]!.call('make', {
    rooms: [roomId],
    kind: of.kind,
    events: of.events,
    txn: 50,
    state: of.kind === 'messages' ? 1 : 0,
    joins: 0,
    wrong: 0,
  })
  const wanted = new Set(traffic.valid[roomId])
  const began = now()
  let last = began
  const client = await SyncReader.start(of.visitor, {
    onEvent: (_, { event_id: id }, at) => {
      if (wanted.delete(id)) last = at
    },
  })
  const spent = await server.costOf(async () => {
    await origins[0]!.call('send', { traffic: traffic.id })
    const answered = now()
    while (wanted.size > 0 && now() - Math.max(last, answered) < patienceMs) await Bun.sleep(20)
  })
  await client.stop()
  await settle(server)
  const bytes = (await databaseBytes(server.stand.pool)) - bytesBefore
  const [own, postgres] = spent.map((us) => us / of.events) as [number, number]
  return [
    { name: 'readable by a client', value: (1000 * of.events) / (last - began), unit: 'PDU/s' },
    { name: 'CPU server', value: own, unit: 'µs' },
    { name: 'CPU PostgreSQL', value: postgres, unit: 'µs' },
    { name: 'of the disk, event and state', value: bytes / of.events, unit: 'bytes' },
    { name: 'lost', value: wanted.size, unit: '', target: { exactly: 0 } },
  ]
}

/** Until the inbox is empty, and the server does nothing any more. */
async function settle(server: WholeServer): Promise<void> {
  for (let round = 0; round < 300; round++) {
    const [own] = await server.costOf(() => Bun.sleep(500))
    if (own < 100_000 && (await waiting(server)) === 0) return
  }
}

/** How long the difference of two branches' auth chains takes, in the graph as it is in the database. */
async function authDifference(sql: Pool): Promise<Figure[]> {
  const [room] = await sql<{ shard: number; roomNid: number }[]>`
    select shard, room_nid::float as "roomNid" from current_state
    group by shard, room_nid order by count(*) desc limit 1`
  const began = now()
  const graph = await authGraphs.read(sql, room!.shard, room!.roomNid)
  const read = now() - began
  const state = await sql<{ nid: number }[]>`
    select event_nid::float as nid from current_state
    where shard = ${room!.shard} and room_nid = ${room!.roomNid} order by event_nid`
  const nids = state.map(({ nid }) => nid)
  const common = nids.slice(0, -200)
  const apart = nids.slice(-200)
  const branches = [apart.filter((_, n) => n % 2 === 0), apart.filter((_, n) => n % 2 === 1)]
  const times = Array.from({ length: 11 }, () => timed(graph.difference(branches, common)))
  return [
    { name: 'reading them all', value: read, unit: 'ms' },
    { name: 'events in them', value: graph.length, unit: '' },
    {
      name: 'the difference of branches that 200 events set apart',
      value: times.sort((a, b) => a - b)[5]!,
      unit: 'ms',
    },
  ]
}

function timed(steps: Steps<unknown>): number {
  const began = now()
  while (!steps.next().done);
  return now() - began
}
