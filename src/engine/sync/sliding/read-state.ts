import { shardOfNid } from '#core/shard.ts'
import { type ReadEvent, loadEvents } from '#engine/read/events.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import type { Sql } from '#store/db.ts'
import * as readMembers from '#store/room/read-members.ts'
import * as readRooms from '#store/room/read-rooms.ts'
import * as readState from '#store/room/read-state.ts'
import type { Memory } from '#engine/sync/sent-members.ts'
import { leaveWithoutEvent } from '#engine/sync/taken-away.ts'
import { type Timeline, emptyTimeline } from '#engine/sync/timelines.ts'
import type { Telling } from './tell.ts'

/** What is told of a room's state. */
export type RoomState = {
  readonly required: readonly ReadEvent[]
  /** Undefined: has not changed; null: there is none. */
  readonly name: ReadEvent | null | undefined
  readonly avatar: ReadEvent | null | undefined
  /** Undefined: has not changed. */
  readonly counts: { readonly joined: number; readonly invited: number } | undefined
  /** Who may stand for the room if it has no name. */
  readonly heroes: readonly ReadEvent[]
}

const member = 'm.room.member'
const maxHeroes = 5

type Key = { type: string; stateKey: string }
/** Numbers of events by key; null: gone without an event. */
type Found = Map<string, Key & { nid: number | null; position?: number }>
const nameOf = ({ type, stateKey }: Key) => `${type}\n${stateKey}`

/** The state of rooms that an answer tells, in as many statements whatever their number. */
export async function readRoomStates(
  sql: Sql,
  userId: string,
  now: number,
  tellings: readonly Telling[],
  timelines: ReadonlyMap<number, Timeline>,
  memory: Memory,
): Promise<{ states: Map<number, RoomState>; extra: ReadonlyMap<number, ReadEvent> }> {
  const told = tellings.filter((telling) => telling.plan)
  const wishes = told.map((telling) => wishOf(telling, timelines, userId))
  const counted = wishes.filter((wish) => wish.counted).map(({ plan: { room } }) => room)
  const shards = counted.map(({ shard }) => shard)
  const nids = counted.map(({ roomNid }) => roomNid)
  const [singles, wholes, counts, heroes] = await Promise.all([
    readSingles(sql, wishes),
    readWholes(sql, wishes),
    counted.length ? readRooms.counts(sql, nids, shards) : [],
    counted.length ? readMembers.heroes(sql, shards, nids, userId) : [],
  ])
  const countsOf = new Map(counts.map((row) => [row.room_nid, row]))
  const heroesOf = Map.groupBy(heroes, (row) => row.room_nid)
  const refs = new Map<number, RoomRef>()
  const wanted: { shard: number; nid: number }[] = []
  const want = (nid: number) => void wanted.push({ shard: shardOfNid(nid), nid })
  const parts = wishes.map((wish) => {
    const { roomNid } = wish.plan.room
    refs.set(roomNid, wish.plan.room)
    const found = merge(wish, singles.get(roomNid), wholes.get(roomNid))
    const required = requiredOf(wish, found, memory)
    const name = found.get(nameOf({ type: 'm.room.name', stateKey: '' }))?.nid ?? null
    const avatar = found.get(nameOf({ type: 'm.room.avatar', stateKey: '' }))?.nid ?? null
    const stand = choose(heroesOf.get(roomNid) ?? [])
    for (const { nid } of required) if (nid !== null) want(nid)
    for (const nid of [name, avatar, ...stand]) if (nid !== null) want(nid)
    return { wish, required, name, avatar, stand }
  })
  for (const { plan } of told)
    for (const { replacedNid } of eventsOf(plan!.room.roomNid, timelines))
      if (replacedNid !== undefined) want(replacedNid)
  const events = await loadEvents(sql, refs, wanted)
  const find = (nid: number | null) => (nid === null ? null : (events.get(nid) ?? null))
  const states = new Map<number, RoomState>()
  for (const { wish, required, name, avatar, stand } of parts) {
    const { roomNid } = wish.plan.room
    const row = countsOf.get(roomNid)
    states.set(roomNid, {
      required: required.flatMap(({ nid, stateKey, position }) =>
        nid === null
          ? leaveWithoutEvent(wish.plan.room, stateKey, position!, now)
          : (events.get(nid) ?? []),
      ),
      name: wish.named ? find(name) : undefined,
      avatar: wish.pictured ? find(avatar) : undefined,
      counts: row && { joined: row.joined, invited: row.invited },
      heroes: stand.flatMap((nid) => events.get(nid) ?? []),
    })
  }
  return { states, extra: events }
}

const eventsOf = (roomNid: number, timelines: ReadonlyMap<number, Timeline>) =>
  (timelines.get(roomNid) ?? emptyTimeline).events

/** What is to be read of one room. */
type Wish = {
  telling: Telling
  plan: NonNullable<Telling['plan']>
  /** Single keys, beside those in `changed`. */
  keys: Key[]
  /** Members for the timeline. */
  lazy: ReadonlySet<string>
  /** All changes of members are told. */
  allMembers: boolean
  whole: 'others' | 'whole' | undefined
  named: boolean
  pictured: boolean
  counted: boolean
}

function wishOf(telling: Telling, timelines: ReadonlyMap<number, Timeline>, userId: string): Wish {
  const { config, initial, moreState, deltas, plan } = telling
  const { required } = config
  const { room, kind } = plan!
  const { events, limited } = timelines.get(room.roomNid) ?? emptyTimeline
  const changed = (type: string) => deltas.some((row) => row.type === type)
  const named = initial || changed('m.room.name')
  const pictured = initial || changed('m.room.avatar')
  const counted = kind === 'join' && (initial || named || changed(member))
  const lazy = new Set<string>()
  if (required.lazy)
    for (const { event } of events) {
      lazy.add(event.sender)
      if (event.type === member && event.stateKey !== undefined) lazy.add(event.stateKey)
    }
  const keys: Key[] = []
  const reads = initial || moreState
  if (reads) keys.push(...required.singles)
  for (const stateKey of lazy) keys.push({ type: member, stateKey })
  // A name is needed to know whether anybody stands for it.
  if (named || counted) keys.push({ type: 'm.room.name', stateKey: '' })
  if (pictured) keys.push({ type: 'm.room.avatar', stateKey: '' })
  // Whoever is out must know it, whatever state they want.
  if (kind === 'leave') keys.push({ type: member, stateKey: userId })
  const whole = reads && required.reading !== 'keys' ? required.reading : undefined
  const allMembers = required.lazy && !limited && !initial
  return { telling, plan: plan!, keys, lazy, allMembers, whole, named, pictured, counted }
}

async function readSingles(sql: Sql, wishes: readonly Wish[]) {
  const keys = wishes.flatMap(({ plan: { room, high }, keys: own }) =>
    own.map((key) => ({ ...key, shard: room.shard, roomNid: room.roomNid, at: high })),
  )
  return Map.groupBy(keys.length ? await readState.keysAt(sql, keys) : [], (row) => row.room_nid)
}

async function readWholes(sql: Sql, wishes: readonly Wish[]) {
  const read = async (kind: Wish['whole']) => {
    const rooms = wishes.filter(({ whole }) => whole === kind)
    if (rooms.length === 0) return []
    const at = rooms.map(({ plan: { room, high } }) => ({
      shard: room.shard,
      roomNid: room.roomNid,
      at: high,
    }))
    return readState.stateAt(sql, at, kind === 'others')
  }
  const [others, whole] = await Promise.all([read('others'), read('whole')])
  return Map.groupBy([...others, ...whole], (row) => row.room_nid)
}

/** All that is known of a room's state at the end of what is told. */
function merge(
  { telling: { deltas, initial } }: Wish,
  ...read: (readonly readState.StateRow[] | undefined)[]
): Found {
  const found: Found = new Map()
  if (!initial)
    for (const { type, state_key: stateKey, new_event_nid: nid, position } of deltas) {
      if (type === null || stateKey === null) continue
      // Not spec: there is no way to tell that other state is gone.
      if (nid !== null || type === member)
        found.set(nameOf({ type, stateKey }), { type, stateKey, nid, position })
    }
  for (const rows of read)
    for (const { type, state_key: stateKey, event_nid: nid } of rows ?? [])
      found.set(nameOf({ type, stateKey }), { type, stateKey, nid })
  return found
}

/** What of it is told. */
function requiredOf(wish: Wish, found: Found, memory: Memory) {
  const { telling, plan, lazy, allMembers } = wish
  const { config, initial, sent, deltas, moreState } = telling
  const { required } = config
  const { roomNid, eventNid } = plan.room
  const changed = new Set(
    initial
      ? []
      : deltas.map((row) => nameOf({ type: row.type ?? '', stateKey: row.state_key ?? '' })),
  )
  return [...found.values()].filter((each) => {
    const { type, stateKey, nid } = each
    const isNews = initial || changed.has(nameOf(each))
    const isOut = plan.kind === 'leave' && type === member && nid === (eventNid ?? null)
    if (isNews && (required.matches(type, stateKey) || isOut)) return remember(each)
    if (type === member && allMembers && isNews) return remember(each)
    if (type === member && lazy.has(stateKey) && nid !== null) {
      const known = !initial && memory.has(roomNid, stateKey, nid)
      return !known && remember(each)
    }
    return moreState && required.matches(type, stateKey) && !sent!.required.matches(type, stateKey)
  })

  function remember({ type, stateKey, nid }: Key & { nid: number | null }): true {
    if (required.lazy && type === member && nid !== null) memory.add(roomNid, stateKey, nid)
    return true
  }
}

/** Those who are there, or, if nobody is, those who were. */
function choose(candidates: readonly readMembers.HeroRow[]): number[] {
  const present = candidates.filter(
    ({ membership }) => membership === 'join' || membership === 'invite',
  )
  return (present.length > 0 ? present : candidates)
    .slice(0, maxHeroes)
    .map((hero) => hero.event_nid)
}
