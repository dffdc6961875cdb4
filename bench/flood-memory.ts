import type { Login } from '#test/laneway.ts'
import { openBench } from './figures.ts'
import { joinRooms, waiting, withFloodStage } from './flood-stage.ts'
import type { Origins } from './origins/origins.ts'
import type { Sent } from './origins/protocol.ts'
import { SyncReader } from './sync-reader.ts'
import type { WholeServer } from './whole-server.ts'

const help = `
How much memory a server takes while it is flooded: ten minutes of spam joins and messages from 200
servers in a few rooms, each server as fast as it is answered. The memory is that of the server's
process, without PostgreSQL.

  bun run bench flood-memory [--seconds 600] [--rooms 10] [--origins 200] [--joins 0.4]
    [--settle 120]

Every second it looks at the memory, and at how many events wait in the inbox; at the end, when it has
had --settle seconds to work off what waits, at what was taken and what was refused.
`

const bench = openBench(
  'flood-memory',
  help,
  {
    seconds: 600,
    rooms: 10,
    origins: 200,
    joins: 0.4,
    wrong: 0.01,
    txn: 50,
    settle: 120,
    version: 11,
  },
  { seconds: 15, rooms: 4, origins: 40, settle: 20 },
)
const { options } = bench

/** Of one second: MiB, and events. */
type Sample = { at: number; memory: number; inbox: number; taken: number }

const mib = async (server: WholeServer) => (await server.memoryKib()) / 1024

/** Looks once a second until it is told that it is over. */
async function watch(
  server: WholeServer,
  set: Origins,
  acknowledged: Set<string>,
  isOver: () => boolean,
): Promise<Sample[]> {
  const samples: Sample[] = []
  const began = performance.now()
  while (!isOver()) {
    for (const id of await set.call('acknowledged')) acknowledged.add(id)
    samples.push({
      at: (performance.now() - began) / 1000,
      memory: await mib(server),
      inbox: await waiting(server),
      taken: acknowledged.size,
    })
    await Bun.sleep(1000)
  }
  return samples
}

function tell(
  samples: readonly Sample[],
  sent: Sent,
  { idle, acknowledged, kept, left }: Record<'idle' | 'acknowledged' | 'kept' | 'left', number>,
): void {
  const most = (of: (sample: Sample) => number) => Math.max(...samples.map(of))
  const title = `${options.seconds} s of spam from ${options.origins} servers in ${options.rooms} rooms`
  bench.tell(title, [
    { name: 'memory, idle', unit: 'MiB', value: idle, target: { first: 150, goal: 120 } },
    {
      name: 'memory, at most',
      unit: 'MiB',
      value: most(({ memory }) => memory),
      target: { first: 512, goal: 350 },
    },
    { name: 'memory, at the end', unit: 'MiB', value: samples.at(-1)!.memory },
    { name: 'in the inbox, at most', unit: '', value: most(({ inbox }) => inbox) },
    { name: 'taken in', unit: 'PDU/s', value: acknowledged / sent.seconds },
    { name: 'valid events acknowledged', unit: '', value: acknowledged },
    { name: 'of them kept', unit: '', value: kept },
    { name: 'left in the inbox, all', unit: '', value: left },
    { name: 'answers of 429', unit: '', value: sent.limited },
    { name: 'requests that failed', unit: '', value: sent.failed },
    ...Object.entries(sent.refused).map(([reason, value]) => ({
      name: `refused: ${reason}`,
      unit: '',
      value,
    })),
  ])
  const line = (name: string, of: (sample: Sample) => number) => ({
    name,
    points: samples.map((sample): [number, number] => [sample.at, of(sample)]),
  })
  const x = { name: 'time', unit: 's' }
  bench.draw({
    name: 'Memory of the server under a flood',
    x,
    y: { name: 'memory', unit: 'MiB' },
    lines: [line('memory', ({ memory }) => memory)],
  })
  bench.draw({
    name: 'Events that wait in the inbox',
    x,
    y: { name: 'events', unit: '' },
    lines: [line('inbox', ({ inbox }) => inbox)],
  })
}

/** How many of the events a client can read, without holding them all. */
async function countHistory(
  reader: Login,
  rooms: readonly string[],
  acknowledged: ReadonlySet<string>,
): Promise<number> {
  let kept = 0
  for (const roomId of rooms) {
    const history = await reader.history(roomId)
    kept += new Set(history.map((event) => event.event_id).filter((id) => acknowledged.has(id)))
      .size
  }
  return kept
}

await withFloodStage({ sets: [options.origins], quick: true }, async ({ server, origins }) => {
  const [set] = origins
  const [reader] = await server.people(1, 'reader')
  const version = String(options.version)
  const wish = { count: options.rooms, version, speakers: options.origins }
  const rooms = await set!.call('rooms', wish)
  await joinRooms(reader!, rooms)
  const ids = rooms.map(({ roomId }) => roomId)
  await Bun.sleep(2000)
  const idle = await mib(server)
  // Somebody reads along.
  const client = await SyncReader.start(reader!, { onEvent: () => {} }, 200)
  const acknowledged = new Set<string>()
  const { txn, joins, wrong } = options
  const flood = set!.call('flood', { rooms: ids, txn, joins, wrong })
  let isOver = false
  const watching = watch(server, set!, acknowledged, () => isOver)
  await Bun.sleep(options.seconds * 1000)
  await set!.call('halt')
  const sent = await flood
  for (const id of await set!.call('acknowledged')) acknowledged.add(id)
  const settled = performance.now() + options.settle * 1000
  while ((await waiting(server)) > 0 && performance.now() < settled) await Bun.sleep(500)
  isOver = true
  const samples = await watching
  await client.stop()
  const left = await waiting(server)
  const kept = await countHistory(reader!, ids, acknowledged)
  tell(samples, sent, { idle, acknowledged: acknowledged.size, kept, left })
})
bench.finish()
