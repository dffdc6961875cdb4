import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import { selectAuthEvents, type StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { propose } from './propose.ts'
import { member, state, type Proposal } from './proposal.ts'
import { placeOf, RoomGraph, type NamedState } from './graph.ts'
import { makeEvent } from './make-event.ts'
import type { Random } from './random.ts'

/** An event, and the state before it: what the auth rules are asked about. */
export type EventCase = Readonly<{
  event: RoomEvent
  /** All that `event` may cite, by ID. */
  known: ReadonlyMap<string, RoomEvent>
  rejected: ReadonlySet<string>
  state: NamedState
}>

export type GeneratedRoom = Readonly<{
  version: RoomVersion
  graph: RoomGraph
  /** The states of the room's forward extremities. */
  states: readonly NamedState[]
  /** Every event that was tried, also those that the room refused. */
  cases: readonly EventCase[]
}>

export const users = [
  '@alice:a.example',
  '@anna:a.example',
  '@bob:b.example',
  '@bess:b.example',
  '@carol:c.example',
  '@dave:d.example:8448',
] as const

type Branch = { state: Map<string, string>; tips: string[]; depth: number }

/** A room that grows at random: servers fork it, merge it again, err and cheat. */
export class RoomMaker {
  readonly version: RoomVersion
  readonly graph: RoomGraph
  readonly cases: EventCase[] = []
  readonly branches: Branch[]
  readonly #random: Random
  readonly #roomId: string
  /** Servers do not agree on the state at every event, and so on what to reject. */
  readonly #viewsDiffer: boolean
  #clock = 1_600_000_000_000

  constructor(version: RoomVersion, random: Random, name = 'room') {
    this.version = version
    this.#random = random
    this.#viewsDiffer = random.chance(0.05)
    const roomId = version.createEventIsRoomId ? undefined : `!${name}:a.example`
    const create = makeEvent(version, roomId, {
      type: 'm.room.create',
      stateKey: '',
      sender: users[0],
      content: this.#createContent(),
      prevEvents: [],
      authEvents: [],
      depth: 1,
      ts: this.#tick(),
    })
    this.#roomId = create.roomId
    this.graph = new RoomGraph(create)
    const state = new Map([[placeOf('m.room.create', ''), create.eventId]])
    this.branches = [{ state, tips: [create.eventId], depth: 1 }]
    this.#furnish()
  }

  #createContent(): JsonObject {
    const random = this.#random
    const content: JsonObject = { room_version: this.version.id, nonce: random.below(1e9) }
    if (this.version.creatorInContent) content['creator'] = users[0]
    if (random.chance(0.03)) content['m.federate'] = false
    if (random.chance(0.3)) content['additional_creators'] = [users[2]]
    return content
  }

  /** The first events of a room, mostly. */
  #furnish(): void {
    const random = this.#random
    const [branch] = this.branches
    const [creator] = users
    this.offer(branch!, member(creator, creator, 'join'))
    const levels: JsonObject = { users: {} }
    const named = levels['users'] as JsonObject
    if (!this.version.privilegedCreators) named[creator] = 100
    if (random.chance(0.5) && !this.version.privilegedCreators) named[users[2]] = 100
    if (random.chance(0.5)) named[users[4]] = 50
    if (random.chance(0.3)) levels['state_default'] = random.pick([0, 25, 100])
    if (random.chance(0.9)) this.offer(branch!, state(creator, 'm.room.power_levels', '', levels))
    const rule = random.pick(['public', 'public', 'public', 'invite', 'knock', 'restricted'])
    this.offer(branch!, state(creator, 'm.room.join_rules', '', { join_rule: rule }))
    for (const user of users.slice(1)) if (random.chance(0.8)) this.invite(branch!, user)
  }

  invite(branch: Branch, user: string): void {
    if (this.#random.chance(0.4)) this.offer(branch, member(users[0], user, 'invite'))
    this.offer(branch, member(user, user, 'join'))
  }

  /** Does one random thing to the room. */
  grow(): void {
    const random = this.#random
    const branch = random.pick(this.branches)
    if (this.branches.length < 4 && random.chance(0.12)) {
      this.branches.push({ ...branch, state: new Map(branch.state), tips: [...branch.tips] })
    } else if (this.branches.length > 1 && random.chance(0.1)) {
      this.#merge()
    } else {
      const view = { random, version: this.version, users, state: this.lookup(branch.state) }
      this.offer(branch, propose(view))
    }
  }

  /** One server has seen two branches, and writes on top of both. */
  #merge(): void {
    const [one, other, ...rest] = this.#random.shuffle(this.branches)
    const state = new Map(this.graph.resolve([one!.state, other!.state]))
    const tips = [...new Set([...one!.tips, ...other!.tips])]
    this.branches.splice(0, this.branches.length, ...rest, {
      state,
      tips,
      depth: Math.max(one!.depth, other!.depth),
    })
  }

  lookup(state: NamedState): StateLookup {
    return (type, stateKey) => {
      const id = state.get(placeOf(type, stateKey))
      return id === undefined ? undefined : this.graph.events.get(id)
    }
  }

  /** Makes an event on a branch; it becomes part of the room if the rules allow it. */
  offer(branch: Branch, proposal: Proposal): RoomEvent | undefined {
    const random = this.#random
    const draft = {
      ...proposal,
      prevEvents: branch.tips,
      authEvents: this.#citations(branch, proposal),
      depth: branch.depth + (random.chance(0.03) ? random.below(9) : 1),
      ts: this.#tick(),
    }
    const event = makeEvent(this.version, this.#roomId, draft)
    if (this.graph.events.has(event.eventId)) return undefined
    const before = new Map(branch.state)
    const { events: known, rejected } = this.graph
    this.cases.push({ event, known, rejected, state: before })
    if (!this.#isAllowed(event, before)) return undefined
    // What cites a rejected event is refused by all.
    this.graph.add(event, this.#viewsDiffer && random.chance(0.1))
    if (event.stateKey !== undefined)
      branch.state.set(placeOf(event.type, event.stateKey), event.eventId)
    branch.tips = [event.eventId]
    branch.depth = Math.max(branch.depth + 1, event.depth)
    return event
  }

  /** What an event should cite; now and then something older, which the rules allow too. */
  #citations(branch: Branch, proposal: Proposal): string[] {
    const subject = { ...proposal, version: this.version, stateKey: proposal.stateKey }
    const right = selectAuthEvents(subject, this.lookup(branch.state))
    if (!this.#random.chance(0.08)) return right.map(({ eventId }) => eventId)
    const all = [...this.graph.events.values()]
    return right.map(({ type, stateKey, eventId }) => {
      const others = all.filter((event) => event.type === type && event.stateKey === stateKey)
      return others.length > 0 ? this.#random.pick(others).eventId : eventId
    })
  }

  #isAllowed(event: RoomEvent, before: NamedState): boolean {
    const { events, rejected } = this.graph
    const cited = event.authEvents.map((id) => events.get(id)!)
    if (this.version.createEventIsRoomId) cited.push(this.graph.create)
    const byAuth: StateLookup = (type, stateKey) =>
      cited.find((auth) => auth.type === type && auth.stateKey === stateKey)
    return (
      checkAuthEvents(
        event,
        (id) => events.get(id),
        (id) => rejected.has(id),
      ).allowed &&
      authorize(event, byAuth, hasSigned(event)).allowed &&
      authorize(event, this.lookup(before), hasSigned(event)).allowed
    )
  }

  /** Time goes on, but not evenly, and the clocks of servers differ. */
  #tick(): number {
    this.#clock += this.#random.below(3)
    return this.#clock + (this.#random.chance(0.3) ? this.#random.below(40) - 20 : 0)
  }

  finish(): GeneratedRoom {
    const { graph, version, cases } = this
    const states = this.branches.map(({ state }) => new Map(state))
    // A server may lack some of the state, as one that got it from a peer that lies.
    for (const state of states) {
      if (!this.#random.chance(0.05)) continue
      const places = [...state.keys()].filter((place) => place !== placeOf('m.room.create', ''))
      state.delete(this.#random.pick(places))
    }
    return { version, graph, states, cases }
  }
}

export const hasSigned =
  ({ pdu }: RoomEvent) =>
  (server: string): boolean =>
    Object.hasOwn(pdu.signatures, server)

/** Makes a room of about so many events, with at least two extremities. */
export function generateRoom(
  version: RoomVersion,
  random: Random,
  size: number,
  name?: string,
): GeneratedRoom {
  const maker = new RoomMaker(version, random, name)
  for (let step = 0; step < size; step++) maker.grow()
  while (maker.branches.length < 2) maker.grow()
  return maker.finish()
}
