import { RemoteError } from '#core/error.ts'
import { selectAuthEvents, type StateLookup } from '#core/event/auth-events.ts'
import { buildEvent } from '#core/event/build.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { SigningKey } from '#core/signing.ts'
import type {
  Federation,
  FederationCalls,
  KnownKey,
  OutgoingAnswer,
  OutgoingRequest,
  WantedKey,
} from '#engine/worker/protocol.ts'

/** The rules of a version, by its number. */
export function versionOf(id: string): RoomVersion {
  const version = roomVersions.get(id)
  if (!version) throw new Error(`there is no room version ${id}`)
  return version
}

/** A made-up server: a name and a key. */
export class MadeUpServer {
  readonly name: string
  readonly key: SigningKey

  constructor(name: string) {
    this.name = name
    const seed = new Uint8Array(32)
    seed.set(Buffer.from(name).subarray(0, 32))
    this.key = new SigningKey('made_up', seed)
  }

  user(localpart: string): string {
    return `@${localpart}:${this.name}`
  }

  get knownKey(): KnownKey {
    const { keyId, publicKey: key } = this.key
    return { server: this.name, keyId, key, validUntilTs: 4_000_000_000_000 }
  }
}

type Answer = (request: OutgoingRequest) => OutgoingAnswer | Promise<OutgoingAnswer>

/** Other servers as a room worker sees them: keys of made-up servers, and answers that a test gives. */
export class MadeUpFederation implements Federation {
  readonly #servers = new Map<string, MadeUpServer>()
  readonly requests: OutgoingRequest[] = []
  readonly askedKeys: WantedKey[] = []
  /** Answers requests; without it no server can be reached. */
  answer: Answer = ({ destination }) => {
    throw new RemoteError(destination, 0, 'laneway.unreachable', 'there is no such server')
  }
  /** Servers whose keys are given later, or never. */
  readonly late = new Map<string, Promise<void>>()
  /** Waited for before keys are given. */
  keysGate: Promise<void> | undefined

  constructor(...servers: MadeUpServer[]) {
    for (const server of servers) this.#servers.set(server.name, server)
  }

  async call<M extends keyof FederationCalls>(
    method: M,
    ...args: Parameters<FederationCalls[M]>
  ): Promise<ReturnType<FederationCalls[M]>> {
    return (await this.#answer(method, args)) as ReturnType<FederationCalls[M]>
  }

  async #answer(method: keyof FederationCalls, args: unknown[]): Promise<unknown> {
    switch (method) {
      case 'request': {
        const request = args[0] as OutgoingRequest
        this.requests.push(request)
        return this.answer(request)
      }
      case 'keys': {
        const wanted = args[0] as WantedKey[]
        this.askedKeys.push(...wanted)
        await this.keysGate
        for (const { server } of wanted) await this.late.get(server)
        return wanted.flatMap(({ server }) => this.#servers.get(server)?.knownKey ?? [])
      }
      case 'keyDocuments':
        return []
      default:
        throw new Error(`nobody answers ${String(method)}`)
    }
  }
}

export type Made = { event: RoomEvent; text: string }

export type Wish = {
  stateKey?: string
  /** Default: the events that nobody cites yet. */
  prev?: readonly string[]
  auth?: readonly string[]
  depth?: number
  ts?: number
  redacts?: string
  /** v1–v2: the ID that the event takes, which servers choose. */
  eventId?: string
  /** Changes the JSON after it was hashed and signed. */
  after?: (pdu: JsonObject) => void
  /** Signs with another server's key, or not with the sender's. */
  signedBy?: MadeUpServer
  /** Leaves heads and state of the room as they are: an event that nobody else builds on. */
  aside?: boolean
}

/** A room as made-up servers see it: each event is one line. */
export class MadeUpRoom {
  readonly version: RoomVersion
  readonly events = new Map<string, Made>()
  /** The current state by `type stateKey`. */
  readonly state = new Map<string, RoomEvent>()
  heads: string[] = []
  roomId = ''
  #clock = 1_700_000_000_000
  readonly #servers = new Map<string, MadeUpServer>()

  constructor(version: RoomVersion, ...servers: MadeUpServer[]) {
    this.version = version
    for (const server of servers) this.#servers.set(server.name, server)
  }

  /** A public room that `creator` has made, with power levels and join rules. */
  static create(versionId: string, creator: string, ...servers: MadeUpServer[]): MadeUpRoom {
    const version = versionOf(versionId)
    const room = new MadeUpRoom(version, ...servers)
    const content: JsonObject = { room_version: versionId }
    if (version.creatorInContent) content['creator'] = creator
    if (!version.createEventIsRoomId) room.roomId = `!made-up:${creator.split(':')[1]}`
    const { event } = room.add(creator, 'm.room.create', content, { stateKey: '' })
    room.roomId = event.roomId
    room.add(creator, 'm.room.member', { membership: 'join' }, { stateKey: creator })
    const users = version.privilegedCreators ? {} : { [creator]: 100 }
    room.add(creator, 'm.room.power_levels', { users }, { stateKey: '' })
    room.add(creator, 'm.room.join_rules', { join_rule: 'public' }, { stateKey: '' })
    return room
  }

  /** Takes over what is known elsewhere: a room that the server under test made. */
  adopt(events: readonly RoomEvent[], heads: readonly string[]): this {
    for (const event of events) {
      this.roomId = event.roomId
      if (event.stateKey !== undefined) this.state.set(`${event.type} ${event.stateKey}`, event)
      this.events.set(event.eventId, { event, text: JSON.stringify(event.pdu) })
    }
    this.heads = [...heads]
    return this
  }

  readonly lookup: StateLookup = (type, stateKey) => this.state.get(`${type} ${stateKey}`)

  /** Adds an event, signed by its sender's server, on top of what the room has. */
  add(sender: string, type: string, content: JsonObject, wish: Wish = {}): Made {
    const made = this.make(sender, type, content, wish)
    const { event } = made
    this.events.set(event.eventId, made)
    if (wish.aside) return made
    this.heads = [...this.heads.filter((id) => !event.prevEvents.includes(id)), event.eventId]
    if (event.stateKey !== undefined) this.state.set(`${type} ${event.stateKey}`, event)
    return made
  }

  /** A message, the usual event. */
  say(sender: string, body: string, wish: Wish = {}): Made {
    return this.add(sender, 'm.room.message', { msgtype: 'm.text', body }, wish)
  }

  member(sender: string, target: string, membership: string, wish: Wish = {}): Made {
    return this.add(sender, 'm.room.member', { membership }, { stateKey: target, ...wish })
  }

  /** Makes an event that the room does not know of. */
  make(sender: string, type: string, content: JsonObject, wish: Wish = {}): Made {
    const { version } = this
    const server = wish.signedBy ?? this.#servers.get(sender.slice(sender.indexOf(':') + 1))
    if (!server) throw new Error(`nobody signs for ${sender}`)
    const subject = { version, type, stateKey: wish.stateKey, sender, content }
    const isCreate = type === 'm.room.create'
    const prevEvents = wish.prev ?? (isCreate ? [] : this.heads)
    const authEvents =
      wish.auth ?? selectAuthEvents(subject, this.lookup).map(({ eventId }) => eventId)
    const depths = prevEvents.map((id) => this.events.get(id)?.event.depth ?? 0)
    const built = buildEvent(
      version,
      {
        roomId: isCreate && version.createEventIsRoomId ? undefined : this.roomId,
        type,
        sender,
        stateKey: wish.stateKey,
        content,
        prevEvents,
        authEvents,
        depth: wish.depth ?? Math.max(0, ...depths) + 1,
        originServerTs: wish.ts ?? this.#clock++,
        redacts: wish.redacts,
        named: version.eventFormat === 'named' ? this.#named(server, wish) : undefined,
      },
      { serverName: server.name, key: server.key },
    )
    if (built.outcome !== 'built') throw new Error(built.reason)
    if (!wish.after) return { event: built.event, text: built.text }
    const pdu = JSON.parse(built.text) as JsonObject
    wish.after(pdu)
    return { event: built.event, text: JSON.stringify(pdu) }
  }

  #named(
    server: MadeUpServer,
    { eventId = `$${crypto.randomUUID()}:${server.name}`, prev = [], auth = [] }: Wish,
  ) {
    // Of what there is not, or not yet, no hash is known.
    const hashes = new Map<string, string | null>([...prev, ...auth].map((id) => [id, null]))
    for (const [id, { event }] of this.events)
      hashes.set(id, referenceHash(this.version, event.pdu) ?? '')
    return { eventId, hashes }
  }
}
