import { cpuFigures, latencyFigures, openBench } from './figures.ts'
import { inParallel, type WholeServer, withWholeServer } from './whole-server.ts'

const help = `
What it costs to have many clients wait: each in a long poll of /sync, over a connection of its own, its
user in one room with a few others. Prints the memory of the server per poll, the CPU of server and
PostgreSQL while nothing happens, and the latency and CPU of one message among them all: to a device of
one user, and to a room of a few.

  bun run bench sync-idle [--polls 10000] [--members 10] [--seconds 30] [--wakes 200]

The memory is that of the whole process: it holds what is remembered of users and rooms, connections,
and the requests that wait. Each poll and the clients' side of it need a file descriptor: see ulimit -n.
`

const bench = openBench(
  'sync-idle',
  help,
  { polls: 10_000, members: 10, seconds: 30, wakes: 200 },
  { polls: 200, seconds: 2, wakes: 20 },
)
const { options } = bench

type Person = Awaited<ReturnType<WholeServer['people']>>[number]

async function run(server: WholeServer): Promise<void> {
  const people = await server.people(options.polls)
  const rooms = await makeRooms(people)
  const polls = people.map((person) => new Poll(server.url, person))
  await inParallel(polls, 100, (poll) => poll.first())
  await settle(server)
  const before = await server.memoryKib()
  await inParallel(polls, 100, (poll) => poll.wait())
  await settle(server)
  const during = await server.memoryKib()
  const answers = () => polls.reduce((sum, poll) => sum + poll.answers, 0)
  const answered = answers()
  const idle = await server.costOf(() => Bun.sleep(1000 * options.seconds))
  const [own, postgres] = idle.map((us) => us / options.seconds / 10_000) as [number, number]
  bench.tell(`${polls.length} long polls, each user in a room of ${options.members}`, [
    { name: 'memory before', value: before / 1024, unit: 'MiB' },
    { name: 'memory with them', value: during / 1024, unit: 'MiB' },
    { name: 'memory per poll', value: (during - before) / polls.length, unit: 'KiB' },
    { name: 'idle CPU server', value: own, unit: '% of a core' },
    { name: 'idle CPU PostgreSQL', value: postgres, unit: '% of a core' },
    { name: 'answered while idle', value: answers() - answered, unit: '' },
  ])

  await wake(server, 'to-device message to 1 user', (n, text) => {
    const [from, to] = [people[n % people.length]!, polls[(n * 37 + 5) % polls.length]!]
    const path = `/_matrix/client/v3/sendToDevice/m.bench/w${n}`
    const messages = { [to.person.userId]: { '*': { text } } }
    return { awaited: [to], send: () => from.ask('PUT', path, { messages }) }
  })
  await wake(server, `message to a room of ${options.members}`, (n, text) => {
    const { roomId, members } = rooms[n % rooms.length]!
    const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/w${n}`
    const send = () => people[members[0]!]!.ask('PUT', path, { msgtype: 'm.text', body: text })
    return { awaited: members.map((index) => polls[index]!), send }
  })
  for (const poll of polls) poll.close()
  await Bun.sleep(5_000)
  const after = (await server.memoryKib()) / 1024
  bench.tell('afterwards', [{ name: 'memory', value: after, unit: 'MiB' }])
}

async function makeRooms(people: readonly Person[]) {
  const count = Math.floor(people.length / options.members)
  const rooms = Array.from({ length: count }, (_, n) => ({
    roomId: '',
    members: Array.from({ length: options.members }, (_unused, m) => n * options.members + m),
  }))
  await inParallel(rooms, 8, async (room) => {
    const [creator, ...others] = room.members.map((index) => people[index]!)
    const wish = { preset: 'public_chat' }
    const made = await creator!.ask<{ room_id: string }>(
      'POST',
      '/_matrix/client/v3/createRoom',
      wish,
    )
    room.roomId = made.room_id
    for (const other of others)
      await other.ask('POST', `/_matrix/client/v3/join/${encodeURIComponent(room.roomId)}`, {})
  })
  return rooms
}

/** Until the server does nothing any more, or for a while. */
async function settle(server: WholeServer): Promise<void> {
  for (let round = 0; round < 120; round++) {
    const [own] = await server.costOf(() => Bun.sleep(1_000))
    if (own < 50_000) return
  }
}

/** Wakes polls, one event after the other; who is woken waits again. */
async function wake(
  server: WholeServer,
  name: string,
  act: (n: number, text: string) => { awaited: Poll[]; send: () => Promise<unknown> },
): Promise<void> {
  const times: number[] = []
  let woken = 0
  const spent = await server.costOf(async () => {
    for (let n = 0; n < options.wakes; n++) {
      const text = crypto.randomUUID()
      const { awaited, send } = act(n, text)
      const seen = Promise.all(awaited.map((poll) => poll.sees(text)))
      const started = performance.now()
      const sent = send()
      await seen
      times.push(performance.now() - started)
      await sent
      woken += awaited.length
    }
  })
  bench.tell(name, [
    ...latencyFigures(times),
    { name: 'polls woken', value: woken / options.wakes, unit: '' },
    ...cpuFigures(spent, options.wakes),
  ])
}

/**
 * One client: a connection of its own, and requests over it by hand, which cost this process little. Once
 * it is let loose it asks again whenever it is answered, as clients do.
 */
class Poll {
  readonly person: Person
  answers = 0
  readonly #url: URL
  #since = ''
  #socket: Bun.Socket | undefined
  #text = ''
  #loose = false
  #answered = Promise.withResolvers<void>()
  #awaited: { text: string; resolve: () => void } | undefined

  constructor(url: string, person: Person) {
    this.#url = new URL(url)
    this.person = person
  }

  /** One request that does not wait. */
  async first(): Promise<void> {
    this.#socket ??= await Bun.connect({
      hostname: this.#url.hostname,
      port: Number(this.#url.port),
      socket: { data: (_socket, bytes) => this.#take(bytes) },
    })
    this.#ask(0)
    await this.#answered.promise
  }

  async wait(): Promise<void> {
    await this.first()
    this.#loose = true
    this.#ask(120_000)
  }

  /** Resolves when an answer holds this text. */
  sees(text: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#awaited = { text, resolve }
    return promise
  }

  close(): void {
    this.#loose = false
    this.#socket?.end()
  }

  #ask(timeoutMs: number): void {
    this.#answered = Promise.withResolvers()
    this.#text = ''
    const query = `timeout=${timeoutMs}${this.#since && `&since=${this.#since}`}`
    this.#socket!.write(
      `GET /_matrix/client/v3/sync?${query} HTTP/1.1\r\nHost: ${this.#url.host}\r\n` +
        `Authorization: Bearer ${this.person.token}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n`,
    )
  }

  #take(bytes: Buffer): void {
    this.#text += bytes.toString('latin1')
    const end = this.#text.indexOf('\r\n\r\n')
    const length = /^content-length: (\d+)/im.exec(this.#text)?.[1]
    if (end < 0 || length === undefined || this.#text.length < end + 4 + Number(length)) return
    const json = this.#text.slice(end + 4)
    this.answers++
    if (this.#awaited && json.includes(this.#awaited.text)) this.#awaited.resolve()
    const { next_batch: since } = JSON.parse(json) as { next_batch: string }
    this.#since = encodeURIComponent(since)
    this.#answered.resolve()
    if (this.#loose) this.#ask(120_000)
  }
}

await withWholeServer(run, { quick: bench.short })
bench.chart('How long until all who wait see it', ['p50', 'p99'])
bench.chart('CPU of one message, with all whom it wakes', ['CPU server', 'CPU PostgreSQL'], {
  stacked: true,
})
bench.finish()
