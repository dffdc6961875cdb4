import type { View } from '#engine/read/positions.ts'
import type { Reader } from '#engine/read/room.ts'
import type { AccountData } from '#engine/sync/account-data.ts'
import { type Away, type AwayRooms, isAsked } from './away.ts'
import type { Link, SentRoom } from './connections.ts'
import {
  type Entry,
  type Window,
  byActivity,
  needsTraits,
  readChildren,
  windowOf,
} from './lists.ts'
import type { Own, OwnLists } from './own-lists.ts'
import { type RoomConfig, type SlidingRequest, combine } from './request.ts'
import type { RoomIndex } from './room-index.ts'

/** What is kept of rooms and users for all connections. */
export type Indexes = {
  readonly rooms: RoomIndex
  readonly away: AwayRooms
  readonly own: OwnLists
}

/** A room that an answer may tell. */
export type Wanted = {
  readonly entry: Entry
  readonly config: RoomConfig
  readonly sent: SentRoom | undefined
  /** Up to where the user was joined; undefined: they are, or never were. */
  readonly until: number | undefined
}

export type Choice = {
  readonly windows: ReadonlyMap<string, Window>
  /** By room number, in the order of lists and subscriptions. */
  readonly wanted: ReadonlyMap<number, Wanted>
  readonly own: Own
}

type Reading = Pick<Reader, 'sql' | 'positions' | 'clock'>

/** The rooms that lists and subscriptions of a request have, and those that its client must hear to be gone. */
export async function chooseRooms(
  reader: Reading,
  indexes: Indexes,
  request: SlidingRequest,
  view: View,
  link: Link,
  accountData: AccountData,
): Promise<Choice> {
  const { sql } = reader
  const lists = [...request.lists.values()]
  const { vector, places } = view
  const joined = places.filter(({ membership }) => membership === 'join')
  const others = places.filter(({ membership }) => membership !== 'join')
  const [facts, away, own, children] = await Promise.all([
    indexes.rooms.read(reader, joined, vector, lists.some(needsTraits)),
    indexes.away.read(sql, request.userId, others),
    indexes.own.read(sql, request.userId, vector),
    readChildren(sql, lists, places),
  ])
  const departed = others.filter((place) => !isAsked(place))
  const { subscriptions } = request
  const seen = await indexes.away.visible(sql, request.userId, departed, away, subscriptions)
  const entries: Entry[] = []
  for (const place of joined) {
    const known = facts.get(place.roomNid)
    if (known)
      entries.push({
        place,
        stamp: known.stamp,
        sentAt: known.sentAt,
        bump: known.bump || known.stamp,
        traits: known.traits,
      })
  }
  const entryOf = (place: (typeof places)[number]): Entry => {
    const known = away.get(place.roomNid)
    const sentAt = known?.sentAt ?? reader.clock()
    const stamp = Math.min(sentAt, reader.clock())
    return { place, stamp, sentAt, bump: stamp, traits: known?.traits }
  }
  for (const place of others) {
    const known = away.get(place.roomNid)
    if (known && isAsked(place) && isShown(place, known, accountData)) entries.push(entryOf(place))
  }
  // Who left by themselves knows it: such a room is told only to who asks for it.
  const named: Entry[] = []
  for (const place of seen)
    (away.get(place.roomNid)!.sender === request.userId ? named : entries).push(entryOf(place))
  entries.sort(byActivity)
  const windows = new Map<string, Window>()
  for (const [name, list] of request.lists)
    windows.set(name, windowOf(list, entries, { own, children }))
  const wanted = wantedOf(request, windows, [...entries, ...named], link, away)
  for (const place of departed) {
    const sent = link.room(place.roomNid)
    // Whoever was told of the room must be told that it is left, wherever it would stand in a list.
    if (!sent || sent.membership === place.membership || wanted.has(place.roomNid)) continue
    const { limit, required } = sent
    const until = away.get(place.roomNid)?.until
    wanted.set(place.roomNid, { entry: entryOf(place), config: { limit, required }, sent, until })
  }
  return { windows, wanted, own }
}

/** Spec: client-server-api/#ignoring-users, client-server-api/#invite-permission */
const isShown = ({ membership }: { membership: string }, { sender }: Away, account: AccountData) =>
  membership !== 'invite' || !(account.blocksInvites || account.ignored.has(sender))

function wantedOf(
  request: SlidingRequest,
  windows: ReadonlyMap<string, Window>,
  entries: readonly Entry[],
  link: Link,
  away: ReadonlyMap<number, Away>,
): Map<number, Wanted> {
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
    for (const entry of entries) {
      const config = request.subscriptions.get(entry.place.roomId)
      if (config) add(entry, config)
    }
  for (const [name, { parts }] of windows) {
    const { config } = request.lists.get(name)!
    for (const part of parts) for (const entry of part.entries) add(entry, config)
  }
  const wanted = new Map<number, Wanted>()
  for (const [entry, config] of configs) {
    const { roomNid } = entry.place
    const until = away.get(roomNid)?.until
    wanted.set(roomNid, { entry, config, sent: link.room(roomNid), until })
  }
  return wanted
}
