import type { FloodStage } from './flood-stage.ts'
import { joinRooms } from './flood-stage.ts'
import type { Login } from '#test/laneway.ts'
import type { Origins } from './origins/origins.ts'
import { now } from './origins/protocol.ts'
import { SyncReader } from './sync-reader.ts'
import { inParallel, type WholeServer } from './whole-server.ts'

/** What is watched while something else goes on. */
export const kinds = ['quiet rooms', 'to-device', 'login', 'local send', 'GET /versions'] as const
export type ProbeKind = (typeof kinds)[number]

/** Of one stretch of time: how long each took, in ms from when it was due, and what never came. */
export type Probed = {
  latencies: Record<ProbeKind, number[]>
  /** Due and never seen. */
  missing: number
  /** Answers that were no success. */
  failed: number
}

/** How often each is done, in ms; in the quiet rooms, once in each. */
const everyMs: Record<ProbeKind, number> = {
  'quiet rooms': 1000,
  'to-device': 100,
  login: 250,
  'local send': 100,
  'GET /versions': 100,
}

const localRooms = 5
const readersOfQuiet = 10
/** What is not there then has not come. */
const patienceMs = 20_000

/** Everyday life on a server: quiet rooms of other servers, messages to devices, logins, local messages. */
export class Probes {
  readonly #server: WholeServer
  readonly #origins: Origins
  readonly #quiet: readonly string[]
  readonly #locals: { roomId: string; sender: Login }[] = []
  readonly #readers: SyncReader[] = []
  readonly #users: { alice: Login; bob: Login }
  #current: Window | undefined
  #count = 0

  private constructor(
    server: WholeServer,
    origins: Origins,
    quiet: readonly string[],
    users: { alice: Login; bob: Login },
  ) {
    this.#server = server
    this.#origins = origins
    this.#quiet = quiet
    this.#users = users
  }

  /** Makes users and rooms; `origins` are those of the quiet rooms. */
  static async open(
    { server }: FloodStage,
    origins: Origins,
    { rooms, version }: { rooms: number; version: string },
  ): Promise<Probes> {
    const quiet = await origins.call('rooms', { count: rooms, version, speakers: 1 })
    const users = { alice: await server.register('alice'), bob: await server.register('bob') }
    const ids = quiet.map(({ roomId }) => roomId)
    const probes = new Probes(server, origins, ids, users)
    await inParallel(Array.from({ length: readersOfQuiet }), 2, async (_, n) => {
      const reader = await server.register(`quiet${n}`)
      await joinRooms(
        reader,
        quiet.filter((__, place) => place % readersOfQuiet === n),
      )
      await probes.#read(reader, 'quiet rooms')
    })
    for (let n = 0; n < localRooms; n++) await probes.#localRoom(n, version)
    await probes.#read(users.bob, 'to-device')
    return probes
  }

  async stop(): Promise<void> {
    await Promise.all(this.#readers.map((reader) => reader.stop()))
  }

  /** Does everything at its planned instants for so many seconds, and waits for what is late. */
  async watch(seconds: number): Promise<Probed> {
    const window = new Window()
    this.#current = window
    const { alice } = this.#users
    const base = `${this.#server.url}/_matrix/client`
    const ticks = this.#origins.call('ticks', {
      rooms: this.#quiet,
      seconds,
      everyMs: everyMs['quiet rooms'],
    })
    await Promise.all([
      this.#repeat('to-device', seconds, async (due) => {
        const { bob } = this.#users
        const messages = { [bob.userId]: { '*': { due } } }
        const path = `/_matrix/client/v3/sendToDevice/bench.due/${++this.#count}`
        return (await alice.request('PUT', path, { messages })).ok
      }),
      this.#repeat('login', seconds, async (due) => {
        const identifier = { type: 'm.id.user', user: 'alice' }
        const body = { type: 'm.login.password', identifier, password: 'alice-password' }
        const device = { device_id: 'PROBE' }
        const answer = await post(`${base}/v3/login`, { ...body, ...device })
        window.note('login', due, now())
        return answer.ok
      }),
      this.#repeat('local send', seconds, async (due) => {
        const { roomId, sender } = this.#locals[++this.#count % localRooms]!
        const path = `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/send/m.room.message/${this.#count}`
        return (await sender.request('PUT', path, { msgtype: 'm.text', body: `due ${due}` })).ok
      }),
      this.#repeat('GET /versions', seconds, async (due) => {
        const answer = await fetch(`${base}/versions`)
        await answer.arrayBuffer()
        window.note('GET /versions', due, now())
        return answer.ok
      }),
    ])
    window.expect((await ticks).length)
    const given = now() + patienceMs
    while (window.missing > 0 && now() < given) await Bun.sleep(20)
    this.#current = undefined
    return window.outcome()
  }

  async #repeat(
    kind: ProbeKind,
    seconds: number,
    act: (due: number) => Promise<boolean>,
  ): Promise<void> {
    const window = this.#current!
    const began = now()
    const open: Promise<void>[] = []
    for (let n = 0; n * everyMs[kind] < seconds * 1000; n++) {
      const due = began + n * everyMs[kind]
      const early = due - now()
      if (early > 0) await Bun.sleep(early)
      window.expect(1)
      open.push(
        act(due).then(
          (isWell) => window.answered(isWell),
          () => window.answered(false),
        ),
      )
    }
    await Promise.all(open)
  }

  async #localRoom(n: number, version: string): Promise<void> {
    const sender = await this.#server.register(`sender${n}`)
    const reader = await this.#server.register(`reader${n}`)
    const { room_id: roomId } = await sender.ask<{ room_id: string }>(
      'POST',
      '/_matrix/client/v3/createRoom',
      { preset: 'public_chat', room_version: version },
    )
    await reader.ask('POST', `/_matrix/client/v3/join/${encodeURIComponent(roomId)}`, {})
    this.#locals.push({ roomId, sender })
    await this.#read(reader, 'local send')
  }

  async #read(login: Login, kind: ProbeKind): Promise<void> {
    this.#readers.push(
      await SyncReader.start(login, {
        onEvent: (_, { content }, at) => {
          const due = /^due ([\d.]+)/.exec(content.body ?? '')?.[1]
          if (due !== undefined) this.#current?.note(kind, Number(due), at)
        },
        onToDevice: ({ due }, at) => this.#current?.note(kind, Number(due), at),
      }),
    )
  }
}

/** What was expected and what came in one stretch of time. */
class Window {
  readonly #latencies = Object.fromEntries(kinds.map((kind) => [kind, [] as number[]])) as Record<
    ProbeKind,
    number[]
  >
  readonly #began = now()
  #expected = 0
  #seen = 0
  #failed = 0

  expect(count: number): void {
    this.#expected += count
  }

  get missing(): number {
    return this.#expected - this.#seen
  }

  note(kind: ProbeKind, due: number, at: number): void {
    // Of an earlier stretch.
    if (due < this.#began) return
    this.#seen++
    this.#latencies[kind].push(at - due)
  }

  answered(isWell: boolean): void {
    if (!isWell) this.#failed++
  }

  outcome(): Probed {
    for (const each of Object.values(this.#latencies)) each.sort((a, b) => a - b)
    return { latencies: this.#latencies, missing: this.missing, failed: this.#failed }
  }
}

async function post(url: string, body: object): Promise<Response> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  await answer.arrayBuffer()
  return answer
}
