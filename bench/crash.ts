import type { Login } from '#test/laneway.ts'
import { openBench } from './figures.ts'
import { countKept, joinRooms, waiting, withFloodStage } from './flood-stage.ts'
import type { Origins } from './origins/origins.ts'
import { quantile } from './stand.ts'
import type { WholeServer } from './whole-server.ts'

const help = `
Whether a server that is killed (-9) at random moments under a flood has all that it acknowledged, once:
transactions of other servers, and messages of its own users. What got no answer is sent again as it
was. PostgreSQL goes on: test/soak/kill.soak.ts kills both.

  bun run bench crash [--kills 1000] [--rooms 6] [--origins 4] [--per-second 400]

Ends with 1 if anything that was acknowledged is lost or there twice.
`

const bench = openBench(
  'crash',
  help,
  { kills: 1000, rooms: 6, origins: 4, 'per-second': 400, version: 11 },
  { kills: 30 },
)
const { options } = bench

/** The longest that a server lives between two kills. */
const longestMs = 900

/** Sends messages of a local user, several at once; what gets no answer is sent again under its ID. */
class LocalSender {
  /** Event IDs by room. */
  readonly acknowledged = new Map<string, string[]>()
  readonly #login: Login
  readonly #rooms: readonly string[]
  readonly #end = new AbortController()
  readonly #working: Promise<unknown>
  #count = 0

  constructor(login: Login, rooms: readonly string[]) {
    this.#login = login
    this.#rooms = rooms
    for (const roomId of rooms) this.acknowledged.set(roomId, [])
    this.#working = Promise.all(Array.from({ length: 4 }, () => this.#work()))
  }

  /** Ends it when what was begun is answered. */
  async stop(): Promise<void> {
    this.#end.abort()
    await this.#working
  }

  async #work(): Promise<void> {
    while (!this.#end.signal.aborted) {
      const n = ++this.#count
      const roomId = this.#rooms[n % this.#rooms.length]!
      const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/local-${n}`
      for (let eventId: string | undefined; eventId === undefined;) {
        const body = { msgtype: 'm.text', body: `local ${n}` }
        const answer = await this.#login.request('PUT', path, body).catch(() => undefined)
        const read = (await answer?.json().catch(() => undefined)) as { event_id?: string }
        eventId = read?.event_id
        if (eventId !== undefined) this.acknowledged.get(roomId)!.push(eventId)
        else await Bun.sleep(50)
      }
      await Bun.sleep(10)
    }
  }
}

/** Messages of local users that are there twice under two IDs. */
async function doubledBodies(reader: Login, rooms: readonly string[]): Promise<number> {
  const own = (await Promise.all(rooms.map((roomId) => reader.history(roomId))))
    .flat()
    .map(({ content }) => content['body'])
    .filter((body) => typeof body === 'string' && body.startsWith('local '))
  return own.length - new Set(own).size
}

async function killAgainAndAgain(server: WholeServer, set: Origins, acknowledged: Set<string>) {
  const starts: number[] = []
  for (let kill = 0; kill < options.kills; kill++) {
    await Bun.sleep(Math.random() * longestMs)
    await server.stop('SIGKILL')
    const began = performance.now()
    await server.start()
    starts.push(performance.now() - began)
    for (const id of await set.call('acknowledged')) acknowledged.add(id)
  }
  return starts.sort((a, b) => a - b)
}

await withFloodStage({ sets: [options.origins], quick: true }, async ({ server, origins }) => {
  const [set] = origins
  const [reader, sender] = [await server.register('reader'), await server.register('sender')]
  const version = String(options.version)
  const wish = { count: options.rooms, version, speakers: options.origins }
  const rooms = await set!.call('rooms', wish)
  await joinRooms(reader, rooms)
  await joinRooms(sender, rooms)
  const ids = rooms.map(({ roomId }) => roomId)

  const flood = set!.call('flood', {
    rooms: ids,
    txn: 20,
    joins: 0.05,
    wrong: 0.01,
    perSecond: options['per-second'],
  })
  const local = new LocalSender(sender, ids)
  const remote = new Set<string>()
  const starts = await killAgainAndAgain(server, set!, remote)
  await local.stop()
  await set!.call('halt')
  const sent = await flood
  for (const id of await set!.call('acknowledged')) remote.add(id)
  for (const given = performance.now() + 300_000; (await waiting(server)) > 0; await Bun.sleep(100))
    if (performance.now() > given) break

  const left = await waiting(server)
  const told = [...local.acknowledged]
  // Which room an event of the origins is in does not matter: IDs are unique.
  const histories = await Promise.all(ids.map((roomId) => reader.history(roomId)))
  const all = histories.flat().map((event) => event.event_id)
  const seen = new Set(all)
  const kept = await countKept(reader, Object.fromEntries(told), [])
  const lost = [...remote].filter((id) => !seen.has(id)).length
  const locals = told.reduce((sum, [, own]) => sum + own.length, 0)
  const answers = remote.size + locals
  bench.tell(`killed ${options.kills} times under ${options['per-second']} PDU/s`, [
    { name: 'kills', unit: '', value: options.kills },
    { name: 'acknowledged to other servers', unit: '', value: remote.size },
    { name: 'acknowledged to our users', unit: '', value: locals },
    { name: 'of them persisted', unit: '', value: answers - lost - kept.lost },
    { name: 'lost', unit: '', value: lost + kept.lost, target: { exactly: 0 } },
    {
      name: 'doubled',
      unit: '',
      value: all.length - seen.size + (await doubledBodies(reader, ids)),
      target: { exactly: 0 },
    },
    { name: 'left in the inbox', unit: '', value: left, target: { exactly: 0 } },
    { name: 'requests that got no answer', unit: '', value: sent.failed },
    { name: 'until it answers again, p50', unit: 'ms', value: quantile(starts, 0.5) },
    { name: 'until it answers again, worst', unit: 'ms', value: quantile(starts, 1) },
  ])
})
bench.finish()
