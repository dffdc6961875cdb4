import type { Place } from '#engine/read/places.ts'
import type { View } from '#engine/read/positions.ts'
import type { Reader } from '#engine/read/room.ts'
import type { AccountData } from '#engine/sync/account-data.ts'
import { type Away, type AwayRooms, isAsked } from './away.ts'
import type { Link, SentRoom } from './connections.ts'
import type { JoinedOrder } from './joined-order.ts'
import {
  type Entry,
  type Window,
  byActivity,
  needsTraits,
  readChildren,
  windowOf,
} from './lists.ts'
import type { Own, OwnLists } from './own-lists.ts'
import type { RequiredState } from './required-state.ts'
import { type RoomConfig, type SlidingRequest, combine } from './request.ts'
import type { RoomIndex } from './room-index.ts'

/** What is kept of rooms and users for all connections. */
export type Indexes = {
  readonly rooms: RoomIndex
  readonly joined: JoinedOrder
  readonly away: AwayRooms
  readonly own: OwnLists
}

/** A room of which there may be something to tell. */
export type Wanted = {
  readonly entry: Entry
  readonly config: RoomConfig
  readonly sent: SentRoom | undefined
  /** Up to where the user was joined; undefined: they are, or never were. */
  readonly until: number | undefined
}

export type Choice = {
  readonly windows: ReadonlyMap<string, Window>
  /** The joined rooms that lists and subscriptions have, changed or not. */
  readonly inSight: readonly Place[]
  readonly wanted: readonly Wanted[]
  readonly own: Own
  readonly accountData: AccountData
}

type Reading = Pick<Reader, 'sql' | 'positions' | 'clock'>
type Rooms = { entries: readonly Entry[]; gone: readonly Entry[]; named: readonly Entry[] }

/** The rooms that lists and subscriptions of a request have, and those that its client must hear to be gone. */
export async function chooseRooms(
  reader: Reading,
  indexes: Indexes,
  request: SlidingRequest,
  view: View,
  link: Link,
  reading: Promise<AccountData>,
): Promise<Choice> {
  const { sql } = reader
  const { userId } = request
  const { vector, places } = view
  const lists = [...request.lists.values()]
  const others = places.filter(({ membership }) => membership !== 'join')
  const withTraits = lists.some(needsTraits)
  const [accountData, joined, away, own, children] = await Promise.all([
    reading,
    indexes.joined.read(reader, indexes.rooms, userId, view, withTraits),
    indexes.away.read(sql, userId, others),
    indexes.own.read(sql, userId, vector),
    readChildren(sql, lists, places),
  ])
  const rooms =
    others.length === 0
      ? { entries: joined, gone: [], named: [] }
      : await withOthers(reader, indexes, request, link, accountData, { joined, others, away })
  const windows = new Map<string, Window>()
  for (const [name, list] of request.lists)
    windows.set(name, windowOf(list, rooms.entries, { own, children }))
  const configs = configsOf(request, windows, [...rooms.named], rooms.entries)
  const inSight: Place[] = []
  const wanted: Wanted[] = []
  const isNews = newsFor(reader)
  for (const [entry, config] of configs) {
    const { place } = entry
    if (place.membership === 'join') inSight.push(place)
    const sent = link.room(place.roomNid)
    if (sent && !isNews(entry, config, sent)) continue
    wanted.push({ entry, config, sent, until: away.get(place.roomNid)?.until })
  }
  for (const entry of rooms.gone) {
    if (configs.has(entry)) continue
    const sent = link.room(entry.place.roomNid)!
    const { limit, required } = sent
    const until = away.get(entry.place.roomNid)?.until
    wanted.push({ entry, config: { limit, required }, sent, until })
  }
  return { windows, inSight, wanted, own, accountData }
}

/** The rooms of lists with those that the user is not in; the rest stands in no list. */
async function withOthers(
  { sql, clock }: Reading,
  indexes: Indexes,
  { userId, subscriptions }: SlidingRequest,
  link: Link,
  accountData: AccountData,
  found: { joined: readonly Entry[]; others: readonly Place[]; away: ReadonlyMap<number, Away> },
): Promise<Rooms> {
  const { others, away } = found
  const departed = others.filter((place) => !isAsked(place))
  const visible = new Set(await indexes.away.visible(sql, userId, departed, away, subscriptions))
  const now = clock()
  const listed: Entry[] = []
  const gone: Entry[] = []
  const named: Entry[] = []
  for (const place of others) {
    const known = away.get(place.roomNid)
    const sentAt = known?.sentAt ?? now
    const stamp = Math.max(0, Math.min(sentAt, now))
    const { position: at } = place
    const entry = { place, at, stamp, sentAt, bump: stamp, traits: known?.traits }
    if (isAsked(place)) {
      if (known && isShown(place, known, accountData)) listed.push(entry)
      continue
    }
    // Who left by themselves knows it: such a room is told only to who asks for it.
    if (visible.has(place)) (known?.sender === userId ? named : listed).push(entry)
    // Whoever was told of the room must be told that it is left, wherever it would stand in a list.
    const sent = link.room(place.roomNid)
    if (sent && sent.membership !== place.membership) gone.push(entry)
  }
  if (listed.length === 0) return { entries: found.joined, gone, named }
  return { entries: [...found.joined, ...listed].sort(byActivity), gone, named }
}

/** Spec: client-server-api/#ignoring-users, client-server-api/#invite-permission */
const isShown = ({ membership }: { membership: string }, { sender }: Away, account: AccountData) =>
  membership !== 'invite' || !(account.blocksInvites || account.ignored.has(sender))

/** What is wanted of each room, subscriptions first. */
function configsOf(
  request: SlidingRequest,
  windows: ReadonlyMap<string, Window>,
  ...rooms: readonly (readonly Entry[])[]
): ReadonlyMap<Entry, RoomConfig> {
  const configs = new Map<Entry, RoomConfig>()
  // The same sets of rules come again and again.
  const combined = new Map<RoomConfig, Map<RoomConfig, RoomConfig>>()
  const add = (entry: Entry, config: RoomConfig) => {
    const known = configs.get(entry)
    if (!known) return void configs.set(entry, config)
    const others = combined.get(known) ?? new Map<RoomConfig, RoomConfig>()
    combined.set(known, others)
    const both = others.get(config) ?? combine(known, config)
    others.set(config, both)
    configs.set(entry, both)
  }
  if (request.subscriptions.size > 0)
    for (const entries of rooms)
      for (const entry of entries) {
        const config = request.subscriptions.get(entry.place.roomId)
        if (config) add(entry, config)
      }
  for (const [name, { parts }] of windows) {
    const { config } = request.lists.get(name)!
    for (const part of parts) for (const entry of part.entries) add(entry, config)
  }
  return configs
}

/** Whether there may be something to tell of a room that was told before. */
function newsFor({ positions }: Reading) {
  const covered = new Map<RequiredState, Map<RequiredState, boolean>>()
  const covers = (has: RequiredState, wants: RequiredState): boolean => {
    if (has === wants) return true
    const known = covered.get(has) ?? new Map<RequiredState, boolean>()
    covered.set(has, known)
    let is = known.get(wants)
    if (is === undefined) known.set(wants, (is = has.covers(wants)))
    return is
  }
  return ({ place, at }: Entry, config: RoomConfig, sent: SentRoom): boolean => {
    if (sent.membership !== place.membership) return true
    if (place.membership !== 'join') {
      if (place.eventNid !== sent.eventNid) return true
      if (isAsked(place)) return false
    } else if (
      // Since then it was known not to have changed.
      sent.at < at &&
      positions.roomChanged(place.shard, place.roomNid, sent.at) !== false
    )
      return true
    return config.limit > sent.limit || !covers(sent.required, config.required)
  }
}
