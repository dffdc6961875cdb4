import { childOf } from '#core/content/m.space.child.ts'
import { loadEvents } from '#engine/read/events.ts'
import type { Place } from '#engine/read/interest.ts'
import type { Sql } from '#store/db.ts'
import * as readSpaces from '#store/room/read-spaces.ts'
import type { OwnLists } from './own-lists.ts'
import type { Filters, ListRequest } from './request.ts'
import type { Traits } from './room-index.ts'

/** A room as lists order it. */
export type Entry = {
  readonly place: Place
  /** When it was last active; and the same as its sender says, where that does not decide. */
  readonly stamp: number
  readonly sentAt: number
  /** What is told of when it was last active. */
  readonly bump: number
  readonly traits: Traits | undefined
}

/** One list of an answer. */
export type Window = {
  /** Rooms that the filters let through. */
  readonly count: number
  /** Those within each range. */
  readonly parts: readonly { readonly range: readonly [number, number]; entries: Entry[] }[]
}

/** Not spec: children of one space that are looked at. */
const maxChildren = 10_000

/** The latest first. Not spec: of those that are as late, the one that is later by its sender's clock. */
export const byActivity = (a: Entry, b: Entry): number =>
  b.stamp - a.stamp || b.sentAt - a.sentAt || a.place.roomNid - b.place.roomNid

/** Whether filters ask for what is read of rooms. */
export const needsTraits = ({ filters }: ListRequest): boolean =>
  filters.isEncrypted !== undefined ||
  filters.roomTypes !== undefined ||
  filters.notRoomTypes !== undefined ||
  filters.nameLike !== undefined

type Known = {
  own: Awaited<ReturnType<OwnLists['read']>>
  /** The children of each space. */
  children: ReadonlyMap<string, ReadonlySet<string>>
}

/** The rooms of a list within its ranges; `entries` are in order. */
export function windowOf(list: ListRequest, entries: readonly Entry[], known: Known): Window {
  const isAll = Object.values(list.filters).every((filter) => filter === undefined)
  const passed = isAll
    ? entries
    : entries.filter((entry) => passes(entry, list.filters, known) === true)
  const ranges = list.ranges ?? [[0, Math.max(0, passed.length - 1)] as const]
  return {
    count: passed.length,
    parts: ranges.map((range) => ({ range, entries: passed.slice(range[0], range[1] + 1) })),
  }
}

/** MSC4186: `SlidingRoomFilter` */
function passes({ place, traits }: Entry, filters: Filters, { own, children }: Known): boolean {
  const { roomId, membership } = place
  const { isDm, isInvite, isEncrypted, roomTypes, notRoomTypes, nameLike } = filters
  if (isDm !== undefined && own.direct.has(roomId) !== isDm) return false
  if (isInvite !== undefined && (membership === 'invite') !== isInvite) return false
  if (isEncrypted !== undefined && traits?.encrypted !== isEncrypted) return false
  if (roomTypes || notRoomTypes) {
    if (!traits) return false
    const type = traits.type ?? null
    if (roomTypes && !roomTypes.has(type)) return false
    if (notRoomTypes?.has(type)) return false
  }
  if (nameLike !== undefined && !traits?.name?.toLowerCase().includes(nameLike)) return false
  const { tags, notTags, spaces } = filters
  if (tags || notTags) {
    const given = own.tags.get(roomId)
    if (tags && !(given && !given.isDisjointFrom(tags))) return false
    if (notTags && given && !given.isDisjointFrom(notTags)) return false
  }
  return !spaces || spaces.some((space) => children.get(space)?.has(roomId))
}

/**
 * The children of spaces that a user is joined to, as last committed; of spaces of those nothing is
 * said. Two statements at most.
 */
export async function readChildren(
  sql: Sql,
  lists: Iterable<ListRequest>,
  places: readonly Place[],
): Promise<Map<string, Set<string>>> {
  const wanted = new Set<string>()
  for (const { filters } of lists) for (const space of filters.spaces ?? []) wanted.add(space)
  const spaces = wanted.size
    ? places.filter(({ membership, roomId }) => membership === 'join' && wanted.has(roomId))
    : []
  const found = new Map<string, Set<string>>()
  if (spaces.length === 0) return found
  const rows = await readSpaces.children(
    sql,
    spaces.map(({ shard }) => shard),
    spaces.map(({ roomNid }) => roomNid),
    maxChildren,
  )
  const events = await loadEvents(
    sql,
    new Map(spaces.map((space) => [space.roomNid, space])),
    rows.map(({ shard, event_nid: nid }) => ({ shard, nid })),
  )
  for (const { room, event } of events.values()) {
    const child = childOf(event.stateKey ?? '', event.content, event.originServerTs)
    if (!child) continue
    const children = found.get(room.roomId)
    if (children) children.add(child.roomId)
    else found.set(room.roomId, new Set([child.roomId]))
  }
  return found
}
