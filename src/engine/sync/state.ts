import { shardOfNid } from '#core/shard.ts'
import { type ReadEvent, loadEvents } from '#engine/read/events.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Reader } from '#engine/read/room.ts'
import { type RelatedReader, relatedAsks } from '#engine/read/related.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import { stillJoined } from '#engine/read/visible.ts'
import type { Sql } from '#store/db.ts'
import * as readState from '#store/room/read-state.ts'
import type { RoomPlan, SyncRequest } from './plan.ts'
import type { Memory } from './sent-members.ts'
import { leaveWithoutEvent } from './taken-away.ts'
import { type Timeline, emptyTimeline } from './timelines.ts'

export type Deltas = ReadonlyMap<number, readonly readState.DeltaRow[]>

/** Where a room's timeline begins in its shard's stream. */
function startOf(plan: RoomPlan, timelines: ReadonlyMap<number, Timeline>): number {
  const [first] = (timelines.get(plan.room.roomNid) ?? emptyTimeline).events
  return first?.position ?? plan.high + 1
}

/** The changes of state of each room in its stretch; of one told in full, those in its timeline. */
export async function readDeltas(
  sql: Sql,
  plans: readonly RoomPlan[],
  timelines: ReadonlyMap<number, Timeline>,
  positions?: Pick<Positions, 'stateChanged'>,
): Promise<Deltas> {
  const changed = plans.filter(
    ({ full, low, room: { shard, roomNid } }) =>
      full || positions?.stateChanged(shard, roomNid, low) !== false,
  )
  const stretches = changed.map((plan) => ({
    shard: plan.room.shard,
    roomNid: plan.room.roomNid,
    low: plan.full ? startOf(plan, timelines) - 1 : plan.low,
    start: startOf(plan, timelines),
    high: plan.high,
  }))
  const found = new Map<number, readState.DeltaRow[]>()
  const wanted = stretches.filter(({ low, high }) => high > low)
  if (wanted.length === 0) return found
  for (const row of await readState.deltas(sql, wanted)) {
    const list = found.get(row.room_nid)
    if (list) list.push(row)
    else found.set(row.room_nid, [row])
  }
  return found
}

/** Whether a room's state was replaced as a whole: then it is told as a whole. */
export const isReplaced = (deltas: readonly readState.DeltaRow[] = []): boolean =>
  deltas.some((delta) => delta.type === null)

const keyOf = (type: string, stateKey: string) => `${type}\n${stateKey}`

/** The keys of the state that some events set. */
const keysIn = (events: readonly ReadEvent[]): ReadonlySet<string> =>
  new Set(
    events.flatMap(({ event: { type, stateKey } }) =>
      stateKey === undefined ? [] : [keyOf(type, stateKey)],
    ),
  )

/** What a room's state part holds, by key. A member may be gone without an event that says so. */
type Chosen = Map<string, Entry>
type Entry = { type: string; stateKey: string } & ({ nid: number } | { goneAt: number })

/**
 * The state part of every room: from the last sync to the start of the timeline, or to its end if
 * the client asked for `state_after`.
 *
 * Spec: client-server-api/#syncing
 */
export async function readStates(
  reader: Pick<Reader, 'sql' | 'clock' | 'positions'> & RelatedReader,
  request: SyncRequest,
  plans: readonly RoomPlan[],
  timelines: ReadonlyMap<number, Timeline>,
  deltas: Deltas,
  heroes: ReadonlyMap<number, readonly string[]>,
  memory: Memory,
): Promise<Map<number, ReadEvent[]>> {
  const { sql, clock, positions } = reader
  const { state: filter } = request.filter
  const lazy = filter.lazyLoadMembers
  const told = plans.filter(({ room }) => filter.rooms.accepts(room.roomId))
  const whole = told.filter((plan) => plan.full || isReplaced(deltas.get(plan.room.roomNid)))
  const [states, members] = await Promise.all([
    readWhole(sql, whole, lazy),
    lazy
      ? readMembers({ sql, positions, memory }, request, told, new Set(whole), timelines, heroes)
      : [],
  ])
  const parts = new Map<number, Chosen>()
  for (const plan of told) {
    const { roomNid, eventNid, position } = plan.room
    const own = {
      changes: deltas.get(roomNid) ?? [],
      events: (timelines.get(roomNid) ?? emptyTimeline).events,
      start: startOf(plan, timelines),
      after: request.stateAfter !== undefined,
    }
    const entire = states.get(roomNid)
    const part = entire ? wholeState(entire, own, lazy) : changedState(own)
    if (eventNid === undefined) {
      const me = { type: 'm.room.member', stateKey: request.userId }
      part.set(keyOf(me.type, me.stateKey), { ...me, goneAt: position })
    }
    parts.set(roomNid, part)
  }
  for (const row of members) {
    const part = parts.get(row.room_nid)!
    const key = keyOf(row.type, row.state_key)
    // What changed is told whether it was told before or not.
    if (part.has(key)) continue
    const known = memory.has(row.room_nid, row.state_key, row.event_nid)
    if (known && !filter.includeRedundantMembers) continue
    part.set(key, { type: row.type, stateKey: row.state_key, nid: row.event_nid })
  }
  const events = await load(reader, request, told, parts, memory, clock())
  // Without `state_after` a member who is in the timeline is known from there.
  if (lazy && !request.stateAfter)
    for (const { room } of told)
      for (const { event, nid } of (timelines.get(room.roomNid) ?? emptyTimeline).events)
        if (event.type === 'm.room.member' && event.stateKey !== undefined)
          memory.add(room.roomNid, event.stateKey, nid)
  return events
}

type Own = {
  changes: readonly readState.DeltaRow[]
  events: readonly ReadEvent[]
  start: number
  after: boolean
}

/** What changed: at the end of the stretch, or what a client needs before it reads the timeline. */
function changedState({ changes, events, start, after }: Own): Chosen {
  const chosen: Chosen = new Map()
  const inTimeline = new Set(events.map((event) => event.nid))
  const setLater = keysIn(events)
  for (const { type, state_key: stateKey, new_event_nid: nid, position } of changes) {
    if (type === null || stateKey === null) continue
    const key = keyOf(type, stateKey)
    // Not spec: what no event of the timeline sets, a client without `state_after` would never know.
    const told = after || position < start || !setLater.has(key)
    if (!told) continue
    if (nid === null && type === 'm.room.member')
      chosen.set(key, { type, stateKey, goneAt: position })
    else if (nid === null) chosen.delete(key)
    else if (after || !inTimeline.has(nid)) chosen.set(key, { type, stateKey, nid })
  }
  return chosen
}

/** The whole state; without `state_after` what the timeline sets is put back to what was before. */
function wholeState(entire: Chosen, own: Own, lazy: boolean): Chosen {
  if (own.after) return entire
  const setLater = keysIn(own.events)
  const undone = new Set<string>()
  for (const { type, state_key: stateKey, old_event_nid: nid, position } of own.changes) {
    if (type === null || stateKey === null || position < own.start) continue
    const key = keyOf(type, stateKey)
    if (undone.has(key) || !setLater.has(key)) continue
    undone.add(key)
    if (nid === null || (lazy && type === 'm.room.member')) entire.delete(key)
    else entire.set(key, { type, stateKey, nid })
  }
  const inTimeline = new Set(own.events.map((event) => event.nid))
  for (const [key, entry] of entire)
    if ('nid' in entry && inTimeline.has(entry.nid)) entire.delete(key)
  return entire
}

async function readWhole(
  sql: Sql,
  plans: readonly RoomPlan[],
  withoutMembers: boolean,
): Promise<Map<number, Chosen>> {
  const found = new Map<number, Chosen>(plans.map(({ room }) => [room.roomNid, new Map()]))
  if (plans.length === 0) return found
  const at = plans.map(({ room, high }) => ({ shard: room.shard, roomNid: room.roomNid, at: high }))
  for (const row of await readState.stateAt(sql, at, withoutMembers))
    found.get(row.room_nid)!.set(keyOf(row.type, row.state_key), {
      type: row.type,
      stateKey: row.state_key,
      nid: row.event_nid,
    })
  return found
}

/** With lazy loading: the members without whom the answer cannot be shown. */
async function readMembers(
  { sql, positions, memory }: { sql: Sql; positions: Positions; memory: Memory },
  { userId, stateAfter, filter }: SyncRequest,
  plans: readonly RoomPlan[],
  whole: ReadonlySet<RoomPlan>,
  timelines: ReadonlyMap<number, Timeline>,
  heroes: ReadonlyMap<number, readonly string[]>,
): Promise<readState.StateRow[]> {
  const keys = plans.flatMap((plan) => {
    const { shard, roomNid } = plan.room
    const { events } = timelines.get(roomNid) ?? emptyTimeline
    const users = new Set(events.map(({ event }) => event.sender))
    for (const hero of heroes.get(roomNid) ?? []) users.add(hero)
    // Their own membership tells them how they are called here.
    if (whole.has(plan)) users.add(userId)
    const type = 'm.room.member'
    const setLater = keysIn(events)
    const start = startOf(plan, timelines)
    // Of whom something was told, and who has changed nothing since, there is no more to tell.
    const isSettled =
      !whole.has(plan) &&
      !filter.state.includeRedundantMembers &&
      positions.membersChanged(shard, roomNid, plan.low) === false
    const asked = [...users].filter((user) => !isSettled || !memory.knows(roomNid, user))
    return asked.map((stateKey) => {
      // As for other state: what no event of the timeline sets is told as it is in the end.
      const at = !stateAfter && setLater.has(keyOf(type, stateKey)) ? start - 1 : plan.high
      return { shard, roomNid, at, type, stateKey }
    })
  })
  return keys.length ? readState.keysAt(sql, keys) : []
}

async function load(
  reader: RelatedReader,
  { filter: { state: filter } }: SyncRequest,
  plans: readonly RoomPlan[],
  parts: ReadonlyMap<number, Chosen>,
  memory: Memory,
  now: number,
): Promise<Map<number, ReadEvent[]>> {
  const rooms = new Map<number, RoomRef>(plans.map(({ room }) => [room.roomNid, room]))
  const wanted: { shard: number; nid: number }[] = []
  const gone: ReadEvent[] = []
  for (const [roomNid, part] of parts)
    for (const entry of part.values()) {
      if (!filter.types.accepts(entry.type)) continue
      if ('nid' in entry) wanted.push({ shard: shardOfNid(entry.nid), nid: entry.nid })
      else gone.push(leaveWithoutEvent(rooms.get(roomNid)!, entry.stateKey, entry.goneAt, now))
    }
  const events = new Map<number, ReadEvent[]>(plans.map(({ room }) => [room.roomNid, []]))
  const loaded = [...(await loadEvents(reader.sql, rooms, wanted)).values()]
  const asks = loaded.map((event) => ({ event, joinedUntil: stillJoined }))
  const related = await relatedAsks(reader, filter.related, asks)
  for (const each of [...related.map(({ event }) => event), ...(filter.related ? [] : gone)]) {
    if (!filter.accepts(each.event)) continue
    events.get(each.room.roomNid)!.push(each)
    if (filter.lazyLoadMembers && each.event.type === 'm.room.member')
      memory.add(each.room.roomNid, each.event.stateKey!, each.nid)
  }
  return events
}
