import type { Login } from '#test/laneway.ts'
import { type FloodStage, joinRooms, waiting, withFloodStage } from './flood-stage.ts'
import { type MadeRoom, now, type Sent, type TrafficKind } from './origins/protocol.ts'
import type { Origins } from './origins/origins.ts'
import { type Probed, Probes } from './probes.ts'
import { SyncReader } from './sync-reader.ts'
import type { Kind } from './whole-server.ts'

export const scenarios = ['messages', 'members', 'overload', 'resolution'] as const
export type Scenario = (typeof scenarios)[number]

type Options = {
  seconds: number
  quiet: number
  origins: number
  'capacity-events': number
  'member-capacity-events': number
  'resolution-ms': number
  users: number
  changes: number
  version: number
}

/** What of the capacity a flood takes that a server should bear. */
const share = 0.7
/** No event for so long, and no more will come. */
const patienceMs = 60_000
const originsOfQuiet = 10

/** A server with quiet rooms that are watched, and rooms that are flooded. */
export class IsolationStage {
  /** What was found on the way, by name. */
  readonly facts: Record<string, number> = {}
  readonly #stage: FloodStage
  readonly #options: Options
  readonly #probes: Probes
  readonly #member: Login
  readonly #rooms: Record<TrafficKind, MadeRoom>
  /** What the member of the flooded rooms has not read yet. */
  readonly #wanted: Set<string>
  #lastSeen = 0
  #users: number
  #changes: number

  private constructor(
    stage: FloodStage,
    options: Options,
    parts: {
      probes: Probes
      member: Login
      rooms: Record<TrafficKind, MadeRoom>
      listen: (onEvent: (id: string, at: number) => void) => void
    },
  ) {
    this.#stage = stage
    this.#options = options
    this.#probes = parts.probes
    this.#member = parts.member
    this.#rooms = parts.rooms
    this.#wanted = new Set()
    parts.listen((id, at) => {
      if (this.#wanted.delete(id)) this.#lastSeen = at
    })
    this.#users = options.users
    this.#changes = options.changes
  }

  /** Gives `run` a stage; all is gone afterwards. */
  static open(
    kind: Kind,
    options: Options,
    quick: boolean,
    run: (stage: IsolationStage) => Promise<void>,
  ): Promise<void> {
    return withFloodStage(
      { kind, sets: [options.origins, originsOfQuiet], quick },
      async (stage) => {
        const [set, quiet] = stage.origins
        const version = String(options.version)
        const probes = await Probes.open(stage, quiet!, { rooms: options.quiet, version })
        const member = await stage.server.register('member')
        const [messages, members] = await set!.call('rooms', {
          count: 2,
          version,
          speakers: options.origins,
        })
        await joinRooms(member, [messages!, members!])
        let told: (id: string, at: number) => void = () => {}
        const reading = await SyncReader.start(
          member,
          { onEvent: (_, { event_id }, at) => told(event_id, at) },
          50,
        )
        const listen = (onEvent: (id: string, at: number) => void) => {
          told = onEvent
        }
        const rooms = { messages: messages!, members: members! }
        const isolation = new IsolationStage(stage, options, { probes, member, rooms, listen })
        try {
          await run(isolation)
        } finally {
          await Promise.all([probes.stop(), reading.stop()])
        }
      },
    )
  }

  get version(): string {
    return this.#stage.server.version
  }

  get #set(): Origins {
    return this.#stage.origins[0]!
  }

  /** Finds how much can be taken in, and how heavy the resolution must be. */
  async calibrate(chosen: readonly Scenario[]): Promise<void> {
    const { 'capacity-events': messages, 'member-capacity-events': members } = this.#options
    await this.#capacity('messages', messages)
    if (chosen.includes('members')) await this.#capacity('members', members)
    // Life as it will be watched, once before: code is compiled then.
    await this.#probes.watch(Math.min(5, this.#options.seconds))
    if (chosen.includes('resolution')) await this.#calibrateResolution()
  }

  idle(): Promise<Probed> {
    return this.#probes.watch(this.#options.seconds)
  }

  /** Everyday life beside a flood, which is over afterwards. */
  async beside(scenario: Scenario): Promise<Probed> {
    if (scenario === 'resolution') return this.#besideResolution()
    const { seconds } = this.#options
    const isOver = scenario === 'overload'
    const kind = scenario === 'members' ? 'members' : 'messages'
    const rate = isOver
      ? this.facts['messages, answered at most']! * 1.3
      : this.facts[`${kind}, readable at most`]! * share
    const id = await this.#make(kind, Math.ceil(rate * (seconds + 1)))
    await this.#settled()
    const began = now()
    const sending = this.#set.call('send', { traffic: id, ...(!isOver && { perSecond: rate }) })
    const probed = await this.#probes.watch(seconds)
    await this.#set.call('halt')
    const sent = await sending
    this.#noteFlood(scenario, sent, now() - began)
    this.#wanted.clear()
    await this.#settled()
    return probed
  }

  #noteFlood(scenario: Scenario, sent: Sent, ms: number): void {
    this.facts[`${scenario}, sent beside`] = (sent.answered * 1000) / ms
    const limited = `${scenario}, answers of 429`
    this.facts[limited] = (this.facts[limited] ?? 0) + sent.limited
  }

  /** Signs events; the member is to read them all. */
  async #make(kind: TrafficKind, events: number): Promise<number> {
    const rooms = [this.#rooms[kind].roomId]
    const shares = { state: 0.01, joins: 0.01, wrong: 0.01, txn: 50 }
    const { id, valid } = await this.#set.call('make', { rooms, kind, events, ...shares })
    for (const ids of Object.values(valid)) for (const each of ids) this.#wanted.add(each)
    return id
  }

  async #capacity(kind: TrafficKind, events: number): Promise<void> {
    const most = this.#stage.server.kind === 'laneway' ? events : Math.min(400, events)
    for (const count of [Math.ceil(most / 4), most]) {
      const traffic = await this.#make(kind, count)
      const valid = this.#wanted.size
      const began = now()
      const sent = await this.#set.call('send', { traffic })
      await this.#read()
      const seconds = (this.#lastSeen - began) / 1000
      this.facts[`${kind}, readable at most`] = (valid - this.#wanted.size) / seconds
      this.facts[`${kind}, answered at most`] = sent.answered / sent.seconds
      this.#wanted.clear()
      await this.#settled()
    }
  }

  /** Until the member has read everything, or nothing comes any more. */
  async #read(): Promise<void> {
    const began = now()
    while (this.#wanted.size > 0 && now() - Math.max(this.#lastSeen, began) < patienceMs)
      await Bun.sleep(20)
  }

  /** Until nothing of a flood is left to be worked off. */
  async #settled(): Promise<void> {
    const given = now() + 2 * patienceMs
    while ((await waiting(this.#stage.server)) > 0 && now() < given) await Bun.sleep(100)
    await Bun.sleep(500)
  }

  /** A room that both branches but for one event have arrived in. */
  async #heavyRoom(): Promise<MadeRoom> {
    const room = await this.#set.call('heavyRoom', {
      version: String(this.#options.version),
      users: this.#users,
      changes: this.#changes,
    })
    await joinRooms(this.#member, [room])
    this.#wanted.add(await this.#set.call('heavyBranch', room.roomId))
    await this.#read()
    await this.#settled()
    return room
  }

  /** Sends what is to be resolved; when that is done. */
  async #resolve(room: MadeRoom): Promise<void> {
    this.#wanted.add(await this.#set.call('heavyFork', room.roomId))
    await this.#read()
  }

  async #calibrateResolution(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) {
      const room = await this.#heavyRoom()
      const [us] = await this.#stage.server.costOf(() => this.#resolve(room))
      this.facts['resolution, processor time, ms'] = us / 1000
      if (us / 1000 >= this.#options['resolution-ms']) return
      this.#changes = Math.ceil(this.#changes * 1.7)
    }
  }

  async #besideResolution(): Promise<Probed> {
    const room = await this.#heavyRoom()
    const resolving = this.#resolve(room)
    const probed = await this.#probes.watch(this.#options.seconds)
    await resolving
    await this.#settled()
    return probed
  }
}
