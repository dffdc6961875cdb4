import {
  type Actor,
  type ClientEvent,
  askSurely,
  enc,
  historyOf,
  serverOf,
  stateOf,
} from './actor.ts'
import type { Follower } from './follower.ts'
import type { Room, World } from './world.ts'

/** What a server knows of an event beside what clients see. */
export type Fact = {
  prev: string[]
  /** Whether it has a place in the stream that /sync follows. */
  live: boolean
  softFailed: boolean
  /** What it is and where it stands, for whoever looks for the cause of a difference. */
  place: string
}

export type Insight = (server: string, room: Room) => Promise<Map<string, Fact> | undefined>

/** One user of each server that has any in a room, by their servers' own word. */
export async function witnesses(world: World, room: Room): Promise<Map<string, Actor[]>> {
  const found = new Map<string, Actor[]>()
  await Promise.all(
    world.actors.map(async (actor) => {
      const { body } = await askSurely(actor, 'GET', 'joined_rooms')
      if (!(body.joined_rooms as string[]).includes(room.roomId)) return
      const server = serverOf(actor.userId)
      found.set(server, [...(found.get(server) ?? []), actor])
    }),
  )
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Each server says something in turn, and all others are given time to hear it. */
export async function lastWords(world: World, room: Room, round: number): Promise<void> {
  for (const [server, actors] of await witnesses(world, room)) {
    let said: string | undefined
    for (const actor of actors)
      said ??= await world.say(actor, room, `last ${round} of ${actor.userId}`)
    if (said === undefined) continue
    for (const [other, listeners] of await witnesses(world, room)) {
      if (other === server) continue
      for (let tries = 0; tries < 40; tries++) {
        const path = `rooms/${enc(room.roomId)}/event/${enc(said)}`
        if ((await askSurely(listeners[0]!, 'GET', path)).status === 200) break
        await Bun.sleep(50)
      }
    }
  }
}

/** Where the servers of a room differ, in sentences. */
export async function differences(
  world: World,
  room: Room,
  insight: Insight,
  readsForward: (server: string) => boolean = () => true,
): Promise<string[]> {
  const heard = await witnesses(world, room)
  const views = await Promise.all(
    [...heard].map(async ([server, actors]) => {
      const [actor] = actors as [Actor]
      // History that had to be fetched is there the second time.
      await historyOf(actor, room.roomId, 'b', 30)
      const [state, older, forward, members] = await Promise.all([
        stateOf(actor, room.roomId),
        historyOf(actor, room.roomId, 'b', 7),
        historyOf(actor, room.roomId, 'f', 13),
        askSurely(actor, 'GET', `rooms/${enc(room.roomId)}/members`),
      ])
      return {
        server,
        actor,
        state,
        history: older.toReversed(),
        forward,
        members: (members.body.chunk ?? []) as ClientEvent[],
        facts: await insight(server, room),
      }
    }),
  )
  const found: string[] = []
  const where = `${room.roomId} (v${room.version})`
  for (const view of views) {
    const { server, state, history, forward, members, facts } = view
    if (!state) {
      found.push(`${where}: ${server} shows no state`)
      continue
    }
    const ids = history.map((event) => event.event_id)
    if (new Set(ids).size < ids.length) found.push(`${where}: ${server} reads an event twice`)
    const ahead = forward.map((event) => event.event_id)
    if (readsForward(server) && ids.join() !== ahead.join())
      found.push(
        `${where}: ${server} reads ${ids.length} events backwards, ${ahead.length} forwards: ${firstDifference(ids, ahead)}`,
      )
    if (!state.has('m.room.create|')) found.push(`${where}: ${server} has no create event`)
    const inState = [...state].filter(([key]) => key.startsWith('m.room.member|'))
    const listed = new Set(members.map((event) => event.event_id))
    if (listed.size !== inState.length || inState.some(([, each]) => !listed.has(each.event_id)))
      found.push(`${where}: ${server} lists members other than the state's`)
    if (facts) found.push(...causality(ids, facts).map((each) => `${where}: ${server} ${each}`))
  }
  const [first, ...others] = views.filter((view) => view.state)
  for (const other of others) {
    if (isOut(first!, other) || isOut(other, first!)) continue
    const keys = new Set([...first!.state!.keys(), ...other.state!.keys()])
    for (const key of keys) {
      const [a, b] = [first!.state!.get(key), other.state!.get(key)]
      if (a?.event_id !== b?.event_id)
        found.push(
          `${where}: state ${key}: ${first!.server} has ${tell(a)}, ${other.server} has ${tell(b)}`,
        )
    }
    for (const [one, two] of [
      [first!, other],
      [other, first!],
    ] as const) {
      const there = new Set(two.history.map((event) => event.event_id))
      for (const event of one.history) {
        if (there.has(event.event_id)) continue
        const fact = two.facts?.get(event.event_id)
        // Spec: server-server-api/#soft-failure: that depends on what a server knew when.
        if (fact?.softFailed || (!two.facts && mayBeSoftFailed(world, room, event))) continue
        found.push(
          `${where}: ${one.server} reads ${tell(event)}, ${two.server} does not (${JSON.stringify(fact)})`,
        )
      }
    }
  }
  return found
}

/**
 * Of a server that cannot be looked into: whether somebody took rights from the event's sender, so that
 * servers may have heard of both in another order; or whether it is a redaction, which each server
 * withholds as long as it does not know the target.
 */
const mayBeSoftFailed = (world: World, room: Room, { type, sender }: ClientEvent): boolean =>
  type === 'm.room.redaction' ||
  // Synapse merges forks with these, and hides them from its own clients.
  type === 'org.matrix.dummy_event' ||
  world.done.some(
    ({ room: where, what, who, status }) =>
      where === room.roomId &&
      status === 200 &&
      (/^(kick|ban) /.test(what)
        ? what.endsWith(` ${sender}`)
        : what.startsWith('set m.room.power_levels') || (what === 'leave' && who === sender)),
  )

/** What a client put together must be what its server says. */
export async function departures(
  follower: Follower,
  rooms: readonly Room[],
  insight: Insight,
): Promise<string[]> {
  const found = [...follower.complaints]
  const { actor, options } = follower
  const { body } = await askSurely(actor, 'GET', 'joined_rooms')
  const joined = new Set(body.joined_rooms as string[])
  for (const room of rooms) {
    const { roomId, version } = room
    const copy = follower.rooms.get(roomId)
    const where = `${follower.name} in ${roomId} (v${version})`
    if ((copy?.joined ?? false) !== joined.has(roomId)) {
      if (await hasVanished(actor, roomId)) continue
      found.push(`${where}: is ${joined.has(roomId) ? '' : 'not '}joined, and was told otherwise`)
      continue
    }
    if (!copy?.joined) continue
    const state = (await stateOf(actor, roomId))!
    if (!options.lazy || options.stateAfter)
      for (const key of new Set([...state.keys(), ...copy.state.keys()])) {
        const [said, put] = [state.get(key)?.event_id, copy.state.get(key)]
        // Nothing can tell a client that a resolution took a key away.
        if (said === put || said === undefined) continue
        if (options.lazy && key.startsWith('m.room.member|') && put === undefined) continue
        // Without state_after, a client takes what the timeline sets as set.
        if (!options.stateAfter && copy.setByTimeline.has(key)) continue
        found.push(`${where}: put together ${put} for ${key}, and it is ${said}`)
      }
    const events = (await historyOf(actor, roomId, 'b', 50)).reverse()
    const history = events.map((event) => event.event_id)
    const place = new Map(history.map((id, index) => [id, index]))
    const unread = copy.timeline.filter((id) => !place.has(id))
    if (unread.length)
      found.push(`${where}: was told ${unread.join(' ')}, which is not in /messages`)
    const known = copy.timeline.filter((id) => place.has(id))
    for (const [index, id] of known.entries())
      if (index > 0 && place.get(id)! < place.get(known[index - 1]!)!)
        found.push(
          `${where}: was told ${id} after ${known[index - 1]}, which /messages reads later`,
        )
    const facts = await insight(serverOf(actor.userId), room)
    if (!facts || known.length === 0) continue
    const told = new Set(known)
    for (const { event_id: id, ...event } of events.slice(place.get(known[0]!)!))
      if (!told.has(id) && facts.get(id)?.live && !cameBefore(place, id, event))
        found.push(`${where}: was never told ${id}, ${JSON.stringify(facts.get(id))}`)
  }
  return found
}

/**
 * v3+: a redaction that came before its target is withheld until the target is there, which a client
 * then gets as redacted.
 */
function cameBefore(
  place: ReadonlyMap<string, number>,
  id: string,
  { type, content, redacts }: Omit<ClientEvent, 'event_id'>,
): boolean {
  if (type !== 'm.room.redaction') return false
  return (place.get((redacts ?? content['redacts']) as string) ?? -1) > place.get(id)!
}

function causality(ids: readonly string[], facts: ReadonlyMap<string, Fact>): string[] {
  const place = new Map(ids.map((id, index) => [id, index]))
  return ids.flatMap((id, index) =>
    (facts.get(id)?.prev ?? [])
      // What was live keeps its place when history shows only later that it comes before that.
      .filter((prev) => !(facts.get(prev)?.live && !facts.get(id)?.live))
      .filter((prev) => (place.get(prev) ?? -1) > index)
      .map((prev) => {
        const [own, its] = [facts.get(id)?.place, facts.get(prev)?.place]
        return `reads ${id} (${own}) before ${prev} (${its}), which comes before it`
      }),
  )
}

/**
 * Whether a resolution took the user's membership away, and put none in its place: then there is no
 * event by which /sync could tell.
 */
async function hasVanished(actor: Actor, roomId: string): Promise<boolean> {
  const path = `rooms/${enc(roomId)}/state/m.room.member/${enc(actor.userId)}`
  return (await askSurely(actor, 'GET', path)).status === 403
}

type View = {
  server: string
  state: Map<string, ClientEvent> | undefined
  facts: Map<string, Fact> | undefined
}

/**
 * Whether all of a server's users that it has for joined are, by the other's state, not in the room,
 * though the other knows their joins: a resolution took them out, and nobody tells a server of that.
 */
function isOut(there: View, { server, state }: View): boolean {
  const joins = [...state!].filter(
    ([key, event]) =>
      key.startsWith('m.room.member|') &&
      key.endsWith(`:${server}`) &&
      event.content['membership'] === 'join',
  )
  return joins.every(
    ([key, event]) =>
      there.state!.get(key)?.content['membership'] !== 'join' &&
      (!there.facts || there.facts.has(event.event_id)),
  )
}

function firstDifference(one: readonly string[], other: readonly string[]): string {
  const at = one.findIndex((id, index) => other[index] !== id)
  return `at ${at}: ${one[at]} and ${other[at]}`
}

const tell = (event: ClientEvent | undefined): string =>
  event
    ? `${event.event_id} (${event.type}|${event.state_key ?? ''} of ${event.sender}: ${JSON.stringify(event.content).slice(0, 80)})`
    : 'nothing'
