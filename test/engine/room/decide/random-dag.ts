import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import { selectAuthEvents } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { createOfRoomId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import type { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { type NamedState, placeOf, RoomGraph } from '#test/differential/graph.ts'
import type { Random } from '#test/differential/random.ts'
import { alice } from '#test/room-engine.ts'

export type Sent = { server: MadeUpServer; event: RoomEvent; text: string }

type Wished = { sender: string; type: string; stateKey?: string; content: JsonObject }

/**
 * What other servers do in a room that forks at random, with what each event ought to come to: states are
 * resolved anew with all that there is. Some events are not allowed, some cite the rights of another fork.
 */
export class RandomDag {
  readonly sent: Sent[] = []
  readonly rejected = new Set<string>()
  readonly #room: MadeUpRoom
  readonly #servers: readonly MadeUpServer[]
  readonly #random: Random
  readonly #graph: RoomGraph
  readonly #after = new Map<string, NamedState>()
  #tips: string[]
  #clock = 1_700_000_000_000

  /** `events` are all that the room has so far, in their order. */
  constructor(
    room: MadeUpRoom,
    servers: readonly MadeUpServer[],
    events: readonly RoomEvent[],
    random: Random,
  ) {
    this.#room = room
    this.#servers = servers
    this.#random = random
    this.#graph = new RoomGraph(events[0]!)
    for (const event of events.slice(1)) this.#graph.add(event)
    const state = new Map<string, string>()
    for (const event of room.state.values())
      state.set(placeOf(event.type, event.stateKey!), event.eventId)
    this.#tips = [...room.heads]
    for (const tip of this.#tips) this.#after.set(tip, state)
  }

  step(): void {
    const random = this.#random
    const known = [...this.#after.keys()]
    const prev = this.#prevs(known)
    const before = this.#resolve(prev)
    const server = random.pick(this.#servers)
    const wish = this.#wish(server)
    const version = this.#room.version
    const rights = random.chance(0.1) ? this.#after.get(random.pick(known))! : before
    const auth = selectAuthEvents({ version, stateKey: undefined, ...wish }, this.#lookupIn(rights))
    const { event, text } = this.#room.make(wish.sender, wish.type, wish.content, {
      ...(wish.stateKey !== undefined && { stateKey: wish.stateKey }),
      prev,
      auth: auth.map(({ eventId }) => eventId),
      ts: this.#clock++ + random.below(40),
    })
    const allowed = this.#isAllowed(event, before)
    // Few servers send what they do not allow themselves.
    if (!allowed && random.chance(0.8)) return
    this.sent.push({ server, event, text })
    this.#room.events.set(event.eventId, { event, text })
    this.#graph.add(event, !allowed)
    this.#tips = [...this.#tips.filter((id) => !prev.includes(id)), event.eventId]
    const state = new Map(before)
    if (!allowed) this.rejected.add(event.eventId)
    else if (event.stateKey !== undefined)
      state.set(placeOf(event.type, event.stateKey), event.eventId)
    this.#after.set(event.eventId, state)
  }

  #prevs(known: readonly string[]): string[] {
    const random = this.#random
    if (random.chance(0.1)) return [random.pick(known)]
    const count = this.#tips.length > 4 ? 3 : random.chance(0.3) ? 2 : 1
    return [...new Set(Array.from({ length: count }, () => random.pick(this.#tips)))]
  }

  #resolve(ids: readonly string[]): NamedState {
    const states = ids.map((id) => this.#after.get(id)!)
    return states.length === 1 ? states[0]! : this.#graph.resolve(states)
  }

  #lookupIn(state: NamedState) {
    return (type: string, stateKey: string): RoomEvent | undefined =>
      this.#graph.events.get(state.get(placeOf(type, stateKey)) ?? '')
  }

  /** Checks 4 and 5. */
  #isAllowed(event: RoomEvent, before: NamedState): boolean {
    const { version, roomId } = event
    const { events, create } = this.#graph
    const createId = version.createEventIsRoomId ? createOfRoomId(roomId) : undefined
    const find = (id: string) => (id === createId ? create : events.get(id))
    const cited = checkAuthEvents(event, find, (id) => this.rejected.has(id))
    const auths = event.authEvents.map((id) => events.get(id)!)
    const byAuth = (type: string, stateKey: string) =>
      type === 'm.room.create' && createId !== undefined
        ? create
        : auths.find((auth) => auth.type === type && auth.stateKey === stateKey)
    return (
      cited.allowed &&
      authorize(event, byAuth, () => true).allowed &&
      authorize(event, this.#lookupIn(before), () => true).allowed
    )
  }

  #wish(server: MadeUpServer): Wished {
    const random = this.#random
    const { version } = this.#room
    const mods = this.#servers.map((each) => each.user('mod'))
    const mod = server.user('mod')
    const user = server.user(`user${random.below(3)}`)
    const other = random.pick(this.#servers).user(`user${random.below(3)}`)
    const n = random.below(1_000_000)
    const draw = random.below(20)
    const member = (sender: string, stateKey: string, content: JsonObject): Wished => ({
      sender,
      type: 'm.room.member',
      stateKey,
      content: { ...content, n },
    })
    if (draw < 3) return member(user, user, { membership: 'join' })
    if (draw < 7)
      return member(user, user, {
        membership: 'join',
        ...(version.restrictedJoins && {
          join_authorised_via_users_server: random.pick([mod, server.user('user0')]),
        }),
      })
    if (draw < 9) return member(user, user, { membership: 'leave' })
    if (draw < 12)
      return member(mod, random.pick([other, random.pick(mods)]), {
        membership: random.pick(['leave', 'ban', 'invite']),
      })
    if (draw === 12) return member(mod, mod, { membership: 'join' })
    const sender = random.pick([mod, user])
    if (draw < 15) return { sender, type: 'm.room.message', content: { body: `${n}` } }
    if (draw < 16)
      return { sender, type: 'x.state', stateKey: `${random.below(3)}`, content: { n } }
    if (draw < 17) return this.#rules(mod)
    return this.#levels(mod, mods, user)
  }

  #rules(sender: string): Wished {
    const { version, roomId } = this.#room
    const rules = ['public', 'invite', ...(version.restrictedJoins ? ['restricted'] : [])]
    const allow = [{ type: 'm.room_membership', room_id: roomId }]
    const content = { join_rule: this.#random.pick(rules), allow }
    return { sender, type: 'm.room.join_rules', stateKey: '', content }
  }

  #levels(sender: string, mods: readonly string[], user: string): Wished {
    const random = this.#random
    const level = () => random.pick([0, 25, 50, 50, 50])
    const users: JsonObject = Object.fromEntries(mods.map((mod) => [mod, level()]))
    users[sender] = 50
    users[user] = random.pick([0, 25, 50])
    if (!this.#room.version.privilegedCreators) users[alice] = 100
    const content = { users, invite: random.pick([0, 25, 50]), events: levelsOf, state_default: 50 }
    return { sender, type: 'm.room.power_levels', stateKey: '', content }
  }
}

const levelsOf = { 'm.room.power_levels': 50, 'm.room.join_rules': 50, 'x.state': 0 }
