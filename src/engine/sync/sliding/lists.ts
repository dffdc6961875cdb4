import { childOf } from '#core/content/m.space.child.ts'
import { loadEvents } from '#engine/read/events.ts'
import type { Place } from '#engine/read/places.ts'
import type { Sql } from '#store/db.ts'
import * as readSpaces from '#store/room/read-spaces.ts'
import type { OwnLists } from './own-lists.ts'
import type { Filters, ListRequest } from './request.ts'
import type { Traits } from './room-index.ts'

/** A room as lists order it. */
export type Entry = {
  readonly place: Place
  /** Nothing changed after this position, in the room's shard. */
  readonly at: number
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
  const tests = testsOf(list.filters, known)
  const passed =
    tests.length === 0 ? entries : entries.filter((entry) => tests.every((test) => test(entry)))
  const ranges = list.ranges ?? [[0, Math.max(0, passed.length - 1)] as const]
  return {
    count: passed.length,
    parts: ranges.map((range) => ({ range, entries: passed.slice(range[0], range[1] + 1) })),
  }
}

type Test = (entry: Entry) => boolean

/** What the filters of a list ask of each room. MSC4186: `SlidingRoomFilter` */
function testsOf(filters: Filters, { own, children }: Known): Test[] {
  const { isDm, isInvite, isEncrypted, roomTypes, notRoomTypes, nameLike } = filters
  const { tags, notTags, spaces } = filters
  const tests: Test[] = []
  if (isDm !== undefined) tests.push(({ place }) => own.direct.has(place.roomId) === isDm)
  if (isInvite !== undefined)
    tests.push(({ place }) => (place.membership === 'invite') === isInvite)
  if (isEncrypted !== undefined) tests.push(({ traits }) => traits?.encrypted === isEncrypted)
  if (roomTypes)
    tests.push(({ traits }) => traits !== undefined && roomTypes.has(traits.type ?? null))
  if (notRoomTypes)
    tests.push(({ traits }) => traits !== undefined && !notRoomTypes.has(traits.type ?? null))
  if (nameLike !== undefined)
    tests.push(({ traits }) => traits?.name?.toLowerCase().includes(nameLike) === true)
  const hasOneOf = (roomId: string, some: ReadonlySet<string>) => {
    const given = own.tags.get(roomId)
    return given !== undefined && !given.isDisjointFrom(some)
  }
  if (tags) tests.push(({ place }) => hasOneOf(place.roomId, tags))
  if (notTags) tests.push(({ place }) => !hasOneOf(place.roomId, notTags))
  if (spaces)
    tests.push(({ place }) => spaces.some((space) => children.get(space)?.has(place.roomId)))
  return tests
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
