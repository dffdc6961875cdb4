import { selectAuthEvents } from '#core/event/auth-events.ts'
import { parsePdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { type Made, type MadeUpServer, MadeUpRoom, versionOf, type Wish } from '#test/builders.ts'

/** Events that one may cite, by the rules of most servers. */
const mostPrevEvents = 10

/** The bytes of a message, as the floor was measured with. */
const messageBytes = 771

/** What messages say: words, as many and as long as people's, for those who search. */
const words = Array.from({ length: 200 }, (_, n) =>
  (n * 2_654_435_761).toString(36).slice(0, 2 + (n % 8)),
).join(' ')

/**
 * A room that origins own together. Each speaker has a branch of its own, which from time to time cites
 * the others'. What the speakers' rights follow from is alike in all branches: the power levels stay,
 * and members are only ever changed by their own server.
 */
export class OriginRoom {
  readonly made: MadeUpRoom
  readonly speakers: readonly MadeUpServer[]
  /** Where each speaker's branch ends. */
  readonly #tips = new Map<MadeUpServer, string>()
  /** Which events came when, for who asks for the state before one. */
  readonly #order = new Map<string, number>()
  readonly #changes: { order: number; place: string; event: RoomEvent }[] = []
  readonly #people = new Map<MadeUpServer, string[]>()
  /** Where those branches begin. */
  #trunk: string[] = []
  #count = 0
  #fill: number | undefined

  constructor(version: string, speakers: readonly MadeUpServer[]) {
    const [owner] = speakers
    const creator = owner!.user('admin')
    this.speakers = speakers
    this.made = new MadeUpRoom(versionOf(version), ...speakers)
    const { version: rules } = this.made
    const content: JsonObject = { room_version: version }
    if (rules.creatorInContent) content['creator'] = creator
    if (!rules.createEventIsRoomId) this.made.roomId = `!${crypto.randomUUID()}:${owner!.name}`
    const moderators = speakers.map((speaker) => [speaker.user('speaker'), 50] as const)
    const admins = rules.privilegedCreators ? [] : [[creator, 100] as const]
    const set = (type: string, value: JsonObject, stateKey = '') =>
      this.#add(creator, `m.room.${type}`, value, { stateKey, ts: Date.now() })
    this.made.roomId = set('create', content).event.roomId
    set('member', { membership: 'join' }, creator)
    set('power_levels', { users: Object.fromEntries([...admins, ...moderators]) })
    set('join_rules', { join_rule: 'public' })
    set('history_visibility', { history_visibility: 'shared' })
    set('name', { name: 'Of the origins' })
    for (const speaker of speakers) this.join(speaker, speaker.user('speaker'), this.made.heads)
    this.#meet()
  }

  get roomId(): string {
    return this.made.roomId
  }

  /** A server that knows the room and lets others join. */
  get via(): string {
    return this.speakers[0]!.name
  }

  /** What a speaker's next event builds on: its own branch, and others' that `known` names, or all. */
  tipsFor(speaker: MadeUpServer, known: Iterable<string> = this.#tips.values()): string[] {
    const own = this.#tips.get(speaker)
    const tips = new Set(own === undefined ? [] : [own])
    for (const tip of known) if (tips.size < mostPrevEvents) tips.add(tip)
    return tips.size > 0 ? [...tips] : this.#trunk
  }

  /** A message of the usual size at the end of a speaker's branch, or on `prev`. */
  say(speaker: MadeUpServer, sender: string, text: string, prev?: readonly string[]): Made {
    const body = `${text} ${words}`.slice(0, (this.#fill ??= this.#roomFor(speaker)))
    const content = { msgtype: 'm.text', body }
    return this.speak(speaker, sender, 'm.room.message', content, prev ? { prev } : {})
  }

  /** A change of state that moderators make. */
  change(speaker: MadeUpServer, topic: string, prev?: readonly string[]): Made {
    const wish = { stateKey: '', ...(prev && { prev }) }
    return this.speak(speaker, speaker.user('speaker'), 'm.room.topic', { topic }, wish)
  }

  /** Any event, at the end of a speaker's branch unless the wish says otherwise. */
  speak(
    speaker: MadeUpServer,
    sender: string,
    type: string,
    content: JsonObject,
    wish: Wish = {},
  ): Made {
    const prev = wish.prev ?? this.tipsFor(speaker)
    const made = this.#add(sender, type, content, { ts: Date.now(), ...wish, prev })
    this.#tips.set(speaker, made.event.eventId)
    return made
  }

  /** Somebody comes; whoever is there already changes their name. */
  join(speaker: MadeUpServer, userId: string, prev?: readonly string[]): Made {
    const people = this.#people.get(speaker) ?? []
    this.#people.set(speaker, people)
    const isNew = this.made.lookup('m.room.member', userId) === undefined
    if (isNew) people.push(userId)
    const content = { membership: 'join', displayname: `${people.length} ${this.#count}` }
    const wish = { stateKey: userId, ...(prev && { prev }) }
    return this.speak(speaker, userId, 'm.room.member', content, wish)
  }

  /** A user of a speaker's who has not joined yet. */
  newcomer(speaker: MadeUpServer): string {
    return speaker.user(`guest${this.#people.get(speaker)?.length ?? 0}`)
  }

  /** Some user of a speaker's who has joined. */
  someone(speaker: MadeUpServer, n: number): string {
    const people = this.#people.get(speaker)!
    return people[n % people.length]!
  }

  /** A message whose signature is not of its server's key, and on which nobody builds. */
  forge(speaker: MadeUpServer, text: string): Made {
    return this.#aside(speaker, text, (pdu) => {
      pdu['signatures'] = { [speaker.name]: { [speaker.key.keyId]: speaker.key.sign('forged') } }
    })
  }

  /** The ends of all branches. */
  get tips(): string[] {
    return [...this.#tips.values()]
  }

  /** Everybody's branch goes on from here: a join of another server, which they all know. */
  take(json: JsonObject): RoomEvent | string {
    const parsed = parsePdu(this.made.version, json, { roomId: this.roomId })
    if ('refused' in parsed) return parsed.refused
    const event = parsed.ok
    this.made.adopt([event], [event.eventId])
    this.#note(event)
    this.#meet()
    return event
  }

  /** The room's state as it is now, or before an event. */
  state(before?: string): RoomEvent[] {
    const end = before === undefined ? Infinity : (this.#order.get(before) ?? Infinity)
    const state = new Map<string, RoomEvent>()
    for (const { order, place, event } of this.#changes) {
      if (order >= end) break
      state.set(place, event)
    }
    return [...state.values()]
  }

  /** All that events have their rights from. */
  authChain(events: readonly RoomEvent[]): RoomEvent[] {
    const chain = new Map<string, RoomEvent>()
    const open = events.flatMap(({ authEvents }) => authEvents)
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      const event = chain.has(id) ? undefined : this.made.events.get(id)?.event
      if (!event) continue
      chain.set(id, event)
      open.push(...event.authEvents)
    }
    return [...chain.values()]
  }

  /** Events on the way back from some, newest first, not beyond `stop`. */
  back(from: readonly string[], stop: ReadonlySet<string>, most: number): Made[] {
    const found: Made[] = []
    const seen = new Set(stop)
    for (let open = [...from]; open.length > 0 && found.length < most;) {
      const id = open.shift()!
      const made = seen.has(id) ? undefined : this.made.events.get(id)
      seen.add(id)
      if (!made) continue
      found.push(made)
      open = [...open, ...made.event.prevEvents]
    }
    return found
  }

  /** The join of another server's user, as a template to sign. */
  template(userId: string): JsonObject {
    const content: JsonObject = { membership: 'join' }
    const { version } = this.made
    const subject = { version, type: 'm.room.member', sender: userId, stateKey: userId, content }
    const { tips } = this
    const prev = (tips.length > 0 ? tips : this.#trunk).slice(0, 20)
    const depths = prev.map((id) => this.made.events.get(id)?.event.depth ?? 0)
    return {
      type: 'm.room.member',
      room_id: this.roomId,
      sender: userId,
      state_key: userId,
      content,
      auth_events: selectAuthEvents(subject, this.made.lookup).map(({ eventId }) => eventId),
      prev_events: prev,
      depth: Math.max(0, ...depths) + 1,
      origin: this.via,
      origin_server_ts: Date.now(),
    }
  }

  /** Forgets messages beyond the newest: a long flood would fill the memory of its maker. */
  forget(keep: number): void {
    const { events } = this.made
    let surplus = events.size - keep
    const tips = new Set(this.#tips.values())
    for (const [id, { event }] of events) {
      if (surplus <= 0) break
      if (event.stateKey !== undefined || tips.has(id)) continue
      events.delete(id)
      this.#order.delete(id)
      surplus--
    }
  }

  /** All speakers go on from what the room has now. */
  #meet(): void {
    this.#tips.clear()
    this.#trunk = [...this.made.heads]
  }

  #add(sender: string, type: string, content: JsonObject, wish: Wish): Made {
    const made = this.made.add(sender, type, content, wish)
    this.#note(made.event)
    return made
  }

  #note(event: RoomEvent): void {
    const order = this.#count++
    this.#order.set(event.eventId, order)
    if (event.stateKey === undefined) return
    this.#changes.push({ order, place: `${event.type} ${event.stateKey}`, event })
  }

  #aside(speaker: MadeUpServer, body: string, after: (pdu: JsonObject) => void = () => {}): Made {
    const content = { msgtype: 'm.text', body }
    const wish = { prev: this.tipsFor(speaker, []), ts: Date.now(), after }
    return this.made.make(speaker.user('speaker'), 'm.room.message', content, wish)
  }

  /** How long a body may be. */
  #roomFor(speaker: MadeUpServer): number {
    return Math.max(40, messageBytes - this.#aside(speaker, '').text.length)
  }
}
