import {
  type Actor,
  type ClientEvent,
  askSurely,
  enc,
  historyOf,
  serverOf,
  stateOf,
} from './actor.ts'
import type { Fact, Insight } from './knowledge.ts'
import type { Room, World } from './world.ts'

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

/** How long a server is waited for that is said to be in a room. */
const hearingMs = 30_000

/** Each server says something in turn, and all others that it has in the room hear it. */
export async function lastWords(
  world: World,
  room: Room,
  round: number,
  insight: Insight,
): Promise<void> {
  const path = `rooms/${enc(room.roomId)}`
  for (const [server, actors] of await witnesses(world, room)) {
    let said: string | undefined
    for (const actor of actors)
      said ??= await world.say(actor, room, `last ${round} of ${actor.userId}`)
    if (said === undefined) continue
    const { body } = await askSurely(actors[0]!, 'GET', `${path}/joined_members`)
    const there = new Set(Object.keys((body.joined ?? {}) as object).map(serverOf))
    for (const [other, listeners] of await witnesses(world, room)) {
      if (other === server || !there.has(other)) continue
      const givenUp = performance.now() + hearingMs
      for (;;) {
        const event = await askSurely(listeners[0]!, 'GET', `${path}/event/${enc(said)}`)
        if (event.status === 200 || performance.now() > givenUp) break
        // One that is soft-failed may be kept from clients.
        if ((await insight(other, room))?.facts.has(said)) break
        await Bun.sleep(100)
      }
    }
  }
}

/** A room as one server has it. */
type View = {
  readonly server: string
  readonly state: ReadonlyMap<string, ClientEvent> | undefined
  /** Oldest first. */
  readonly history: readonly ClientEvent[]
  readonly forward: readonly ClientEvent[]
  readonly members: readonly ClientEvent[]
  readonly facts: ReadonlyMap<string, Fact>
}

async function viewOf(server: string, actor: Actor, room: Room, insight: Insight): Promise<View> {
  const { roomId } = room
  const { facts } = (await insight(server, room))!
  const nothing: View = { server, state: undefined, history: [], forward: [], members: [], facts }
  if (!(await stateOf(actor, roomId))) return nothing
  // History that had to be fetched is there the second time.
  await historyOf(actor, roomId, 'b', 30)
  const [state, older, forward, members] = await Promise.all([
    stateOf(actor, roomId),
    historyOf(actor, roomId, 'b', 7),
    historyOf(actor, roomId, 'f', 13),
    askSurely(actor, 'GET', `rooms/${enc(roomId)}/members`),
  ])
  return {
    ...nothing,
    state,
    history: older.toReversed(),
    forward,
    members: (members.body.chunk ?? []) as ClientEvent[],
    // Read last: what a client was shown is known.
    facts: (await insight(server, room))!.facts,
  }
}

/** What is known to differ in servers that are not ours. */
export type Excuses = {
  readsForward(server: string): boolean
  /** Whether the server calls users joined whose membership a resolution took away. */
  forgetsToTell(server: string): boolean
  /** Whether the server keeps an event from its clients that all know. */
  hides(server: string, event: ClientEvent): boolean
}

const noExcuse: Excuses = {
  readsForward: () => true,
  forgetsToTell: () => false,
  hides: () => false,
}

/** Where the servers of a room differ, in sentences. */
export async function differences(
  world: World,
  room: Room,
  insight: Insight,
  excuses: Excuses = noExcuse,
): Promise<string[]> {
  const heard = await witnesses(world, room)
  const views = await Promise.all(
    [...heard].map(([server, actors]) => viewOf(server, actors[0]!, room, insight)),
  )
  const where = `${room.roomId} (v${room.version})`
  const found = views.flatMap((view) =>
    contradictions(view, excuses).map((each) => `${where}: ${view.server} ${each}`),
  )
  const sentTo = addressees(views)
  for (const [index, one] of views.entries())
    for (const other of views.slice(index + 1)) {
      if (!one.state || !other.state) continue
      found.push(
        ...missing(room, one, other, sentTo, excuses).map((each) => `${where}: ${each}`),
        ...missing(room, other, one, sentTo, excuses).map((each) => `${where}: ${each}`),
        ...unredacted(one, other).map((each) => `${where}: ${each}`),
        ...unredacted(other, one).map((each) => `${where}: ${each}`),
      )
      if (isOut(one, other) || isOut(other, one)) continue
      for (const key of new Set([...one.state.keys(), ...other.state.keys()])) {
        const [a, b] = [one.state.get(key), other.state.get(key)]
        if (a?.event_id !== b?.event_id)
          found.push(
            `${where}: state ${key}: ${one.server} has ${tell(a)}, ${other.server} has ${tell(b)}`,
          )
      }
    }
  return found
}

/** What one server says that cannot be true together. */
function contradictions(view: View, excuses: Excuses): string[] {
  const { state, history, forward, members, facts } = view
  if (!state) return excuses.forgetsToTell(view.server) ? [] : ['shows no state']
  const found: string[] = []
  const ids = history.map((event) => event.event_id)
  if (new Set(ids).size < ids.length) found.push('reads an event twice')
  const ahead = forward.map((event) => event.event_id)
  if (excuses.readsForward(view.server) && ids.join() !== ahead.join())
    found.push(
      `reads ${ids.length} events backwards, ${ahead.length} forwards: ${firstDifference(ids, ahead)}`,
    )
  if (!state.has('m.room.create|')) found.push('has no create event')
  const inState = [...state].filter(([key]) => key.startsWith('m.room.member|'))
  const listed = new Set(members.map((event) => event.event_id))
  if (listed.size !== inState.length || inState.some(([, each]) => !listed.has(each.event_id)))
    found.push("lists members other than the state's")
  return [...found, ...causality(ids, facts)]
}

/** Of each event the servers that it was sent to by any server that says so. */
function addressees(views: readonly View[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>()
  for (const { server, facts } of views)
    for (const [id, { sentTo }] of facts) {
      if (!sentTo) continue
      const known = found.get(id) ?? new Set([server])
      for (const to of sentTo) known.add(to)
      found.set(id, known)
    }
  return found
}

/** Events that one server reads and another should, and does not. */
function missing(
  { version }: Room,
  one: View,
  other: View,
  sentTo: ReadonlyMap<string, ReadonlySet<string>>,
  excuses: Excuses,
): string[] {
  const there = new Set(other.history.map((event) => event.event_id))
  return one.history.flatMap((event) => {
    const { event_id: id } = event
    if (there.has(id) || excuses.hides(other.server, event)) return []
    const fact = other.facts.get(id)
    // Spec: server-server-api/#soft-failure: that depends on what a server knew when.
    if (fact?.softFailed) return []
    // Spec: rooms/v3/#handling-redactions: withheld until the target is known.
    const target = one.facts.get(id)?.redacts
    if (Number(version) >= 3 && target !== undefined && !isPart(other.facts.get(target))) return []
    // It was not there when that was said, by those who sent it, and does not hear of it; or it is out,
    // and is not told what it lacks to make something of what it was sent.
    const to = sentTo.get(id)
    if (!isPart(fact) && ((to && !to.has(other.server)) || isOut(one, other))) return []
    return [
      `${one.server} reads ${tell(event)}, ${other.server} does not (${JSON.stringify(fact)}); it was sent to ${[...(to ?? ['?'])].join(' ')}`,
    ]
  })
}

/** Events that one server reads as redacted, and another, which has the redaction too, as they were. */
function unredacted(one: View, other: View): string[] {
  const there = new Map(other.history.map((event) => [event.event_id, event]))
  return one.history.flatMap((event) => {
    const twin = there.get(event.event_id)
    const redaction = event.unsigned?.redacted_because?.event_id
    if (!twin || redaction === undefined || twin.unsigned?.redacted_because) return []
    const fact = other.facts.get(redaction)
    // Spec: server-server-api/#soft-failure
    if (!isPart(fact) || fact!.softFailed) return []
    return [
      `${one.server} has ${tell(event)} redacted by ${redaction}, ${other.server} has ${tell(twin)}`,
    ]
  })
}

/** Whether an event has its place in the graph of a server. */
const isPart = (fact: Fact | undefined): boolean => fact !== undefined && !fact.outlier

/**
 * Events that are read before one that comes before them. One that came late is read directly before
 * what cites it, and what is live keeps its place: so it may come before live events that turn out to be
 * its ancestors, if a descendant of it has been read before those.
 */
function causality(ids: readonly string[], facts: ReadonlyMap<string, Fact>): string[] {
  const place = new Map(ids.map((id, index) => [id, index]))
  const children = new Map<string, string[]>()
  for (const [id, { prev }] of facts)
    for (const each of prev) children.set(each, [...(children.get(each) ?? []), id])
  const isHeldBefore = (id: string, end: number): boolean => {
    const seen = new Set([id])
    for (const each of seen) {
      const at = place.get(each)
      if (each !== id && at !== undefined && at < end && isLive(facts.get(each))) return true
      for (const child of children.get(each) ?? []) seen.add(child)
    }
    return false
  }
  return ids.flatMap((id, index) =>
    (facts.get(id)?.prev ?? [])
      .filter((prev) => (place.get(prev) ?? -1) > index)
      .filter(
        (prev) =>
          isLive(facts.get(id)) || !isLive(facts.get(prev)) || !isHeldBefore(id, place.get(prev)!),
      )
      .map((prev) => {
        const [own, its] = [facts.get(id)?.place, facts.get(prev)?.place]
        return `reads ${id} (${own}) before ${prev} (${its}), which comes before it`
      }),
  )
}

const isLive = (fact: Fact | undefined): boolean => fact?.position !== undefined

/**
 * Whether all of a server's users that it has for joined are, by the other's state, not in the room,
 * though the other knows their joins, and has events that they do not: a resolution took them out, and
 * nobody tells a server of that.
 */
function isOut(there: View, { server, state, facts }: View): boolean {
  const joins = [...state!].filter(
    ([key, event]) =>
      key.startsWith('m.room.member|') &&
      key.endsWith(`:${server}`) &&
      event.content['membership'] === 'join',
  )
  return (
    joins.every(
      ([key, event]) =>
        there.state!.get(key)?.content['membership'] !== 'join' && there.facts.has(event.event_id),
    ) && there.history.some(({ event_id: id }) => !isPart(facts.get(id)))
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
