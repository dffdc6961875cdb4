import { expect, test } from 'bun:test'
import { selectAuthEvents } from '#core/event/auth-events.ts'
import { toRoomEvent } from '#core/event/check.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import type { JsonObject } from '#core/json.ts'
import { authorize } from '#core/auth/authorize.ts'
import { type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { type NamedState, placeOf, RoomGraph } from '#test/differential/graph.ts'
import { Random } from '#test/differential/random.ts'
import {
  adopt,
  alice,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  setState,
  until,
} from '#test/room-engine.ts'

const database = await testDatabase()
const servers = ['one.test', 'two.test', 'three.test'].map((name) => new MadeUpServer(name))

/** A room that forks at random, as it ought to become: every resolution walks over all there is. */
class Model {
  readonly room: MadeUpRoom
  readonly graph: RoomGraph
  readonly #random: Random
  readonly #after = new Map<string, NamedState>()
  #tips: string[]
  #clock = 1_700_000_000_000

  /** `events` are all that the room has so far, in their order. */
  constructor(room: MadeUpRoom, events: readonly RoomEvent[], random: Random) {
    this.room = room
    this.#random = random
    this.graph = new RoomGraph(events[0]!)
    for (const event of events.slice(1)) this.graph.add(event)
    const state = new Map<string, string>()
    for (const event of room.state.values())
      state.set(placeOf(event.type, event.stateKey!), event.eventId)
    this.#tips = [...room.heads]
    for (const tip of this.#tips) this.#after.set(tip, state)
  }

  get state(): NamedState {
    return this.#resolve(this.#tips)
  }

  #resolve(ids: readonly string[]): NamedState {
    const states = ids.map((id) => this.#after.get(id)!)
    return states.length === 1 ? states[0]! : this.graph.resolve(states)
  }

  /** Adds an event that is allowed where it stands, and by what is current; its text. */
  step(): { server: MadeUpServer; text: string } | undefined {
    const random = this.#random
    // A tip, several of them, or what was cited before.
    const known = [...this.#after.keys()]
    const prev = random.chance(0.15)
      ? [random.pick(known)]
      : random.chance(0.2)
        ? [...new Set([random.pick(this.#tips), random.pick(this.#tips)])]
        : [random.pick(this.#tips)]
    const before = this.#resolve(prev)
    const server = random.pick(servers)
    const wish = this.#wish(server)
    const lookup = this.#lookupIn(before)
    const subject = { version: this.room.version, ...wish }
    const auth = selectAuthEvents(subject, lookup).map(({ eventId }) => eventId)
    const ts = this.#clock + random.below(40)
    const { event, text } = this.room.make(wish.sender, wish.type, wish.content, {
      stateKey: wish.stateKey,
      prev,
      auth,
      ts,
    })
    const allowed = (state: NamedState) => authorize(event, this.#lookupIn(state), () => true)
    if (!allowed(before).allowed || !allowed(this.state).allowed) return undefined
    this.#clock++
    this.room.events.set(event.eventId, { event, text })
    this.graph.add(event)
    this.#tips = [...this.#tips.filter((id) => !prev.includes(id)), event.eventId]
    const state = new Map(before)
    state.set(placeOf(event.type, event.stateKey!), event.eventId)
    this.#after.set(event.eventId, state)
    return { server, text }
  }

  #lookupIn(state: NamedState) {
    return (type: string, stateKey: string): RoomEvent | undefined =>
      this.graph.events.get(state.get(placeOf(type, stateKey)) ?? '')
  }

  #wish(server: MadeUpServer): {
    sender: string
    type: string
    stateKey: string
    content: JsonObject
  } {
    const random = this.#random
    const mod = server.user('mod')
    const user = server.user(`user${random.below(4)}`)
    const draw = random.below(20)
    const n = random.below(1_000_000)
    const member = (sender: string, stateKey: string, membership: string) => ({
      sender,
      type: 'm.room.member',
      stateKey,
      content: { membership, n },
    })
    if (draw < 11) return member(user, user, 'join')
    if (draw < 15) return member(user, user, 'leave')
    if (draw < 17) return member(mod, user, random.pick(['leave', 'ban', 'invite']))
    if (draw === 17) return member(mod, mod, 'join')
    if (draw === 18)
      return { sender: mod, type: 'x.state', stateKey: `${random.below(3)}`, content: { n } }
    const users = Object.fromEntries(servers.map((each) => [each.user('mod'), 50]))
    const content: JsonObject = {
      users: { ...users, [user]: random.below(2) * 10 },
      state_default: 50,
      events: { 'm.room.power_levels': 50 },
    }
    if (!this.room.version.privilegedCreators) (content['users'] as JsonObject)[alice] = 50
    return { sender: mod, type: 'm.room.power_levels', stateKey: '', content }
  }
}

async function eventsOf(roomId: string, version: RoomVersion): Promise<RoomEvent[]> {
  const rows = await database.pool<{ json: string; event_id: Uint8Array }[]>`
    select j.json, e.event_id from rooms r
    join events e on e.shard = r.shard and e.room_nid = r.room_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where r.room_id = ${roomId} order by e.depth, e.event_nid`
  return rows.map(({ json, event_id: id }) =>
    toRoomEvent(version, JSON.parse(json) as Pdu, unpackEventId(id, version), roomId),
  )
}

/** The IDs of the current state, as stored. */
async function currentOf(roomId: string, version: RoomVersion): Promise<string[]> {
  const rows = await database.pool<{ event_id: Uint8Array }[]>`
    select e.event_id from rooms r
    join current_state s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation
    join events e on e.shard = s.shard and e.event_nid = s.event_nid
    where r.room_id = ${roomId}`
  return rows.map(({ event_id: id }) => unpackEventId(id, version)).sort()
}

async function play(version: string, seed: number) {
  await using stage = await openStage(database, servers)
  const roomId = await createRoom(stage, version)
  for (const server of servers) await joinFrom(stage, database, roomId, server, 'mod', 'user0')
  const users: JsonObject = Object.fromEntries(servers.map((server) => [server.user('mod'), 50]))
  if (Number(version) < 12) users[alice] = 50
  await setState(stage, roomId, 'm.room.power_levels', {
    users,
    state_default: 50,
    events: { 'm.room.power_levels': 50 },
  })
  await stage.engine.parts.persister.idle()
  const room = await adopt(database, roomId, ...servers)
  const model = new Model(room, await eventsOf(roomId, room.version), new Random(seed))
  for (let step = 0; step < 80; step++) {
    const sent = model.step()
    if (!sent) continue
    await deliver(stage, database, roomId, sent.server, [sent.text])
    if (step % 4 === 0) await until(inboxIsEmpty(database, roomId))
  }
  await until(inboxIsEmpty(database, roomId))
  await stage.engine.parts.persister.idle()
  const ids = await currentOf(roomId, room.version)
  expect({ seed, version, ids }).toEqual({ seed, version, ids: [...model.state.values()].sort() })
  expect(stage.errors).toEqual([])
  const { accepted, rejected, softFailed, mergesFast, resolutions } = stage.engine.parts.counters
  return { accepted, rejected, softFailed, mergesFast, resolutions }
}

test('a room that forks at random, with memberships that are merged by themselves, becomes what resolving everything anew says', async () => {
  const sum = { accepted: 0, rejected: 0, softFailed: 0, mergesFast: 0, resolutions: 0 }
  for (const [index, version] of ['6', '11', '12', '11', '12', '10'].entries()) {
    const counts = await play(version, 1 + index)
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += counts[name]
  }
  // Both ways were gone, and nothing was refused that the model has.
  expect(sum.mergesFast).toBeGreaterThan(20)
  expect(sum.resolutions).toBeGreaterThan(20)
  expect([sum.rejected, sum.softFailed]).toEqual([0, 0])
})
