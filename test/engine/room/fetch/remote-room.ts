import { randomBytes } from 'node:crypto'
import { selectAuthEvents, type StateLookup } from '#core/event/auth-events.ts'
import { buildEvent } from '#core/event/build.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { makeSigningKey, type SigningKey } from '#core/signing.ts'

/** A server that exists in a test only: a name and a key. */
export class RemoteServer {
  readonly name: string
  readonly key: SigningKey

  constructor(name: string) {
    this.name = name
    this.key = makeSigningKey(randomBytes(32))
  }

  get signing() {
    return { serverName: this.name, key: this.key }
  }

  user(localpart: string): string {
    return `@${localpart}:${this.name}`
  }
}

export type Wish = {
  type: string
  sender: string
  content: JsonObject
  stateKey?: string
  prevEvents?: readonly RoomEvent[]
  authEvents?: readonly RoomEvent[]
  roomId?: string
}

/** A made-up room of other servers, with all that they could tell of it. */
export class RemoteRoom {
  readonly version: RoomVersion
  readonly roomId: string
  readonly servers: ReadonlyMap<string, RemoteServer>
  readonly events = new Map<string, RoomEvent>()
  readonly #stateBefore = new Map<string, ReadonlyMap<string, RoomEvent>>()
  #state: ReadonlyMap<string, RoomEvent> = new Map()
  #tips: readonly RoomEvent[] = []
  #clock = 1_700_000_000_000
  #count = 0

  /** The room has a creator, who is joined, power levels and a join rule. */
  constructor(
    versionId: string,
    servers: readonly RemoteServer[],
    { joinRules = { join_rule: 'public' } }: { joinRules?: JsonObject } = {},
  ) {
    this.version = roomVersions.get(versionId)!
    this.servers = new Map(servers.map((server) => [server.name, server]))
    const creator = servers[0]!.user('creator')
    this.roomId = this.version.createEventIsRoomId ? '' : `!room${versionId}:${servers[0]!.name}`
    const create = this.send({
      type: 'm.room.create',
      sender: creator,
      stateKey: '',
      content: {
        room_version: versionId,
        ...(this.version.creatorInContent && { creator }),
      },
    })
    this.roomId = create.roomId
    this.join(creator)
    this.send({
      type: 'm.room.power_levels',
      sender: creator,
      stateKey: '',
      content: { users: this.version.privilegedCreators ? {} : { [creator]: 100 } },
    })
    this.send({ type: 'm.room.join_rules', sender: creator, stateKey: '', content: joinRules })
  }

  get creator(): string {
    return this.create.sender
  }

  get create(): RoomEvent {
    return this.state('m.room.create', '')!
  }

  get tips(): readonly RoomEvent[] {
    return this.#tips
  }

  readonly state: StateLookup = (type, stateKey) => this.#state.get(`${type}|${stateKey}`)

  currentState(): RoomEvent[] {
    return [...this.#state.values()]
  }

  /** The state before an event, which must be of this room. */
  stateBefore(eventId: string): RoomEvent[] {
    return [...this.#stateBefore.get(eventId)!.values()]
  }

  join(userId: string): RoomEvent {
    return this.send({
      type: 'm.room.member',
      sender: userId,
      stateKey: userId,
      content: { membership: 'join' },
    })
  }

  say(sender: string, body: string): RoomEvent {
    return this.send({ type: 'm.room.message', sender, content: { msgtype: 'm.text', body } })
  }

  /** Builds an event, and takes it into the room. */
  send(wish: Wish): RoomEvent {
    const event = this.build(wish)
    this.add(event)
    return event
  }

  /** Takes an event into the room that was built elsewhere. */
  add(event: RoomEvent): void {
    this.events.set(event.eventId, event)
    this.#stateBefore.set(event.eventId, this.#state)
    if (event.stateKey !== undefined)
      this.#state = new Map(this.#state).set(`${event.type}|${event.stateKey}`, event)
    this.#tips = [event]
  }

  /** Builds and signs an event that the room does not know. */
  build(wish: Wish): RoomEvent {
    const { type, sender, content, stateKey } = wish
    const { version } = this
    const server = this.servers.get(domainOf(sender)!)!
    const subject = { version, type, sender, content, stateKey }
    const prev = wish.prevEvents ?? this.#tips
    const auth = wish.authEvents ?? selectAuthEvents(subject, this.state)
    const isFirst = type === 'm.room.create' && version.createEventIsRoomId
    const built = buildEvent(
      version,
      {
        ...subject,
        roomId: isFirst ? undefined : (wish.roomId ?? this.roomId),
        prevEvents: prev.map(({ eventId }) => eventId),
        authEvents: auth.map(({ eventId }) => eventId),
        depth: 1 + Math.max(0, ...prev.map(({ depth }) => depth)),
        originServerTs: this.#clock++,
        named: this.#named(server, [...prev, ...auth]),
      },
      server.signing,
    )
    if (built.outcome !== 'built') throw new Error(built.reason)
    return built.event
  }

  /** The auth chain of some events, without them. */
  authChain(of: Iterable<RoomEvent>): RoomEvent[] {
    const chain = new Map<string, RoomEvent>()
    const open = [...of]
    for (let event = open.pop(); event; event = open.pop())
      for (const id of event.authEvents) {
        const auth = this.events.get(id)
        if (!auth || chain.has(id)) continue
        chain.set(id, auth)
        open.push(auth)
      }
    return [...chain.values()]
  }

  /** A template as make_join and make_leave give it. */
  template(userId: string, membership: string, content: JsonObject = {}): JsonObject {
    const { version, roomId } = this
    const full = { ...content, membership }
    const subject = { version, type: 'm.room.member', sender: userId, stateKey: userId }
    const auth = selectAuthEvents({ ...subject, content: full }, this.state)
    const references = (events: readonly RoomEvent[]) =>
      events.map(({ eventId, pdu }) =>
        version.eventFormat === 'named'
          ? [eventId, { sha256: referenceHash(version, pdu)! }]
          : eventId,
      )
    return {
      type: 'm.room.member',
      room_id: roomId,
      sender: userId,
      state_key: userId,
      content: full,
      depth: 1 + this.#tips[0]!.depth,
      prev_events: references(this.#tips),
      auth_events: references(auth),
      origin_server_ts: this.#clock,
    }
  }

  #named(server: RemoteServer, cited: readonly RoomEvent[]) {
    if (this.version.eventFormat !== 'named') return undefined
    const hashes = cited.map(({ eventId, pdu }) => [
      eventId,
      referenceHash(this.version, pdu)!,
    ]) as [string, string][]
    return { eventId: `$${++this.#count}:${server.name}`, hashes: new Map(hashes) }
  }
}
