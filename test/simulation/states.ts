import { toRoomEvent } from '#core/event/check.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { createOfRoomId, domainOf } from '#core/ids.ts'
import { roomVersions } from '#core/room-version.ts'
import type { Pool, Sql } from '#store/db.ts'
import { eventFlags } from '#store/room/batch.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import { load } from '#store/room/snapshots.ts'
import { type NamedState, placeOf, RoomGraph } from '#test/differential/graph.ts'
import type { Room } from './world.ts'

type Place = Pick<Room, 'roomId' | 'version'>

/** What a server makes of an event that has its place in the graph. */
type Judged = {
  readonly event: RoomEvent
  readonly rejection: string | undefined
  readonly before: NamedState
}

/** A room as one server has judged it. */
export type Judgement = {
  readonly server: string
  /** All that it knows of the room, what stands beside the graph too. */
  readonly events: ReadonlyMap<string, RoomEvent>
  readonly rejected: ReadonlySet<string>
  readonly judged: ReadonlyMap<string, Judged>
  /** Events that nobody cites, and the room's state. */
  readonly ends: readonly string[]
  readonly current: NamedState
}

type Row = {
  shard: number
  room_nid: number
  event_nid: number
  event_id: Uint8Array
  flags: number
  snapshot_nid: number | null
  json: string
  reason: string | null
}

/** What a Laneway has made of the events of a room, by its database: all of it as it was at one time. */
export async function judgementIn(server: string, pool: Pool, room: Place): Promise<Judgement> {
  const reading = (sql: Sql) => judgementAt(server, sql, room)
  return await pool.begin('isolation level repeatable read read only', reading)
}

async function judgementAt(
  server: string,
  sql: Sql,
  { roomId, version: id }: Place,
): Promise<Judgement> {
  const version = roomVersions.get(id)!
  const rows = await sql<Row[]>`
    select e.shard, e.room_nid, e.event_nid, e.event_id, e.flags, e.snapshot_nid, j.json, r.reason
    from events e join event_json j using (shard, event_nid)
    left join rejections r using (shard, event_nid)
    where e.room_nid = (select room_nid from rooms where room_id = ${roomId})`
  const events = new Map<string, RoomEvent>()
  const byNid = new Map<number, RoomEvent>()
  for (const row of rows) {
    const eventId = unpackEventId(row.event_id, version)
    const event = toRoomEvent(version, JSON.parse(row.json) as Pdu, eventId, roomId)
    events.set(eventId, event)
    byNid.set(row.event_nid, event)
  }
  const placed = rows.filter(
    (row) => row.snapshot_nid !== null && (row.flags & eventFlags.outlier) === 0,
  )
  const snapshots = new Map<number, NamedState>()
  const [first] = rows
  if (first) {
    const nids = placed.map((row) => row.snapshot_nid!)
    const cache = new SnapshotCache(2 ** 28)
    for (const [nid, { state }] of await load(sql, first.shard, first.room_nid, nids, cache))
      snapshots.set(nid, named(Array.from(state, ([, event]) => byNid.get(event)!)))
  }
  const ends = await sql<{ event_nid: number }[]>`
    select event_nid from extremities join rooms using (shard, room_nid) where room_id = ${roomId}`
  const current = await sql<{ event_nid: number }[]>`
    select event_nid from current_state join rooms using (shard, room_nid, generation)
    where room_id = ${roomId}`
  const idOf = ({ event_nid: nid }: { event_nid: number }) => byNid.get(nid)!.eventId
  const isRejected = ({ flags }: Row) => (flags & eventFlags.rejected) !== 0
  return {
    server,
    events,
    rejected: new Set(rows.filter(isRejected).map(idOf)),
    judged: new Map(
      placed.map((row) => [
        idOf(row),
        {
          event: byNid.get(row.event_nid)!,
          rejection: isRejected(row) ? (row.reason ?? '') : undefined,
          before: snapshots.get(row.snapshot_nid!)!,
        },
      ]),
    ),
    ends: ends.map(idOf),
    current: named(current.map((row) => byNid.get(row.event_nid)!)),
  }
}

const named = (events: readonly RoomEvent[]): NamedState =>
  new Map(events.map((event) => [placeOf(event.type, event.stateKey!), event.eventId]))

/**
 * Where servers have judged a room otherwise, in sentences: the state before an event and whether it is
 * rejected depend on its past alone, and not on what came when. Of each two servers only where it begins
 * is told; then of each server where the state is not what its own events resolve to.
 */
export function splits(room: Place, judgements: readonly Judgement[]): string[] {
  const where = `${room.roomId} (v${room.version})`
  const found: string[] = []
  for (const [index, one] of judgements.entries()) {
    for (const other of judgements.slice(index + 1)) found.push(...splitOf(one, other))
    found.push(...unresolved(one))
  }
  return found.map((each) => `${where}: ${each}`)
}

function splitOf(one: Judgement, other: Judgement): string[] {
  const differing = new Set<string>()
  for (const [id, own] of one.judged) {
    const theirs = other.judged.get(id)
    if (!theirs) continue
    if (isRejected(own) !== isRejected(theirs) || differences(own.before, theirs.before).length > 0)
      differing.add(id)
  }
  const begins = [...differing].filter(
    (id) => !one.judged.get(id)!.event.prevEvents.some((prev) => differing.has(prev)),
  )
  return begins.map((id) => {
    const [own, theirs] = [one.judged.get(id)!, other.judged.get(id)!]
    const verdicts = [one, other].map(
      ({ server, judged }) => `${server} ${verdictOf(judged.get(id)!)}`,
    )
    const states = differences(own.before, theirs.before).map(
      (place) =>
        `${place.replace('\0', '|')}: ${tell(one, own.before.get(place))} and ${tell(other, theirs.before.get(place))}`,
    )
    return `${tell(one, id)}, ${pastOf(one, id)} and ${pastOf(other, id)}: ${verdicts.join(', ')}; before it ${states.join('; ') || 'the same'}`
  })
}

const isRejected = ({ rejection }: Judged): boolean => rejection !== undefined
const verdictOf = ({ rejection }: Judged): string =>
  rejection === undefined ? 'accepts it' : `rejects it (${rejection})`

const differences = (one: NamedState, other: NamedState): string[] =>
  [...new Set([...one.keys(), ...other.keys()])].filter(
    (place) => one.get(place) !== other.get(place),
  )

/** Which of the events that it follows a server has in its graph, how it judged them. */
const pastOf = ({ server, judged, events }: Judgement, id: string): string =>
  `${server} after ${events
    .get(id)!
    .prevEvents.map((prev) => {
      const own = judged.get(prev)
      return `${prev} ${own ? verdictOf(own) : 'which it lacks'}`
    })
    .join(' ')}`

function tell({ events }: Judgement, id: string | undefined): string {
  const event = id === undefined ? undefined : events.get(id)
  return event
    ? `${id} (${event.type}|${event.stateKey ?? ''} of ${event.sender}: ${JSON.stringify(event.content).slice(0, 200)})`
    : 'nothing'
}

/** Where a server has another state than those after the events that are followed resolve to. */
function unresolved({ server, events, rejected, judged, ends, current }: Judgement): string[] {
  const graph = graphOf(events, rejected)
  if (!graph) return []
  const wrongIn = (state: NamedState, follows: readonly string[], where: string): string[] => {
    const prevs = follows.flatMap((id) => judged.get(id) ?? [])
    if (prevs.length === 0 || prevs.length < follows.length) return []
    const resolved = resolvedIn(graph, prevs.map(stateAfter))
    const wrong = differences(resolved, state).map(
      (place) => `${place.replace('\0', '|')} ${state.get(place)} for ${resolved.get(place)}`,
    )
    if (wrong.length === 0) return []
    return [`${server} has ${where} another state than its past resolves to: ${wrong.join('; ')}`]
  }
  // Who is out of a room knows of its present what it was invited by, at most.
  const isIn = [...current.values()].some((id) => {
    const { type, stateKey, content } = events.get(id)!
    return (
      type === 'm.room.member' && content['membership'] === 'join' && domainOf(stateKey!) === server
    )
  })
  return [
    ...[...judged.values()].flatMap(({ event, before }) =>
      wrongIn(before, event.prevEvents, `before ${event.eventId}`),
    ),
    ...(isIn ? wrongIn(current, ends, 'now') : []),
  ]
}

function stateAfter({ event, before, rejection }: Judged): NamedState {
  if (event.stateKey === undefined || rejection !== undefined) return before
  return new Map(before).set(placeOf(event.type, event.stateKey), event.eventId)
}

function resolvedIn(graph: RoomGraph, states: readonly NamedState[]): NamedState {
  const written = (state: NamedState) => [...state.values()].sort().join(' ')
  const distinct = [...new Map(states.map((state) => [written(state), state])).values()]
  return distinct.length === 1 ? distinct[0]! : graph.resolve(distinct)
}

/** The state events whose whole auth chain is known; undefined for who does not know the room. */
function graphOf(
  events: ReadonlyMap<string, RoomEvent>,
  rejected: ReadonlySet<string>,
): RoomGraph | undefined {
  const create = [...events.values()].find(({ type }) => type === 'm.room.create')
  if (!create) return undefined
  const graph = new RoomGraph(create)
  const createId = create.version.createEventIsRoomId ? createOfRoomId(create.roomId) : undefined
  const open = [...events.values()].filter((event) => event !== create)
  for (let left = open; left.length > 0;) {
    const waiting: RoomEvent[] = []
    for (const event of left)
      if (event.authEvents.every((id) => id === createId || graph.events.has(id)))
        graph.add(event, rejected.has(event.eventId))
      else waiting.push(event)
    if (waiting.length === left.length) break
    left = waiting
  }
  return graph
}
