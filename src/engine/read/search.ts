import { invalidParam } from '#core/error.ts'
import type { EventFilter } from '#core/filter.ts'
import { displayNameOf, avatarUrlOf } from '#core/content/m.room.member.ts'
import type { JsonObject } from '#core/json.ts'
import { searchedTypes } from '#core/search.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as search from '#store/event-index/search.ts'
import * as readKeys from '#store/room/read-keys.ts'
import * as readMembers from '#store/room/read-members.ts'
import * as readState from '#store/room/read-state.ts'
import { type ReadEvent, isShown, loadEvents } from './events.ts'
import { forgottenOf } from './forgotten.ts'
import { ignoredBy } from './ignored.ts'
import { storable } from './related.ts'
import type { RelationsReader } from './relations.ts'
import { type RoomRef, toRef } from './room-ref.ts'
import { type TimelinePlace, encodePlace } from './timeline-token.ts'
import { type Seen, neverJoined, visible } from './visible.ts'

export type SearchRequest = {
  readonly userId: string
  readonly term: string
  /** The types of events that are asked for. */
  readonly types: readonly string[]
  readonly filter: EventFilter
  readonly byRank: boolean
  readonly nextBatch: string | undefined
  readonly limit: number
  readonly context: { readonly before: number; readonly after: number } | undefined
}

export type Result = {
  readonly event: ReadEvent
  readonly rank: number
  /** Those nearest to it first, as of contexts of events. */
  readonly before: readonly ReadEvent[]
  readonly after: readonly ReadEvent[]
  readonly start: string | undefined
  readonly end: string | undefined
}

export type Results = {
  readonly results: readonly Result[]
  readonly seen: ReadonlyMap<number, Seen>
  readonly count: number
  readonly highlights: readonly string[]
  readonly next: string | undefined
  readonly untils: ReadonlyMap<number, number>
}

const nothing: Results = {
  results: [],
  seen: new Map(),
  count: 0,
  highlights: [],
  next: undefined,
  untils: new Map(),
}

/** Rooms that one search looks at: those where the user is first, then those left last. */
const maxRooms = 2_000

/**
 * Searches the rooms that a user is or was in. A number of statements that depends on nothing that is
 * found.
 *
 * Spec: client-server-api/#server-side-search
 */
export async function searchEvents(
  reader: RelationsReader,
  request: SearchRequest,
): Promise<Results> {
  const { sql } = reader
  const { userId, filter, limit } = request
  const after = request.nextBatch === undefined ? undefined : decodeNext(request)
  const [found, ignored, { rooms: now }] = await Promise.all([
    searchedRooms(sql, userId),
    ignoredBy(sql, userId),
    reader.positions.settled(),
  ])
  const rooms = found.filter(({ room }) => filter.rooms.accepts(room.roomId))
  if (rooms.length === 0) return nothing
  await reader.eventIndex?.reach(rooms.map(({ room }) => room.shard))
  const { only: senders, not } = filter.senders
  const [page, highlights] = await Promise.all([
    search.find(sql, {
      rooms: rooms.map(({ room, until }) => ({
        ...room,
        until: Math.min(until, now[room.shard]!),
      })),
      term: request.term.replaceAll('\0', ' '),
      types: request.types.filter((type) => searchedTypes.includes(type)),
      senders,
      notSenders: [...not, ...ignored],
      related: filter.related && storable(filter.related),
      byRank: request.byRank,
      after,
      limit,
    }),
    search.words(sql, request.term.replaceAll('\0', ' ')),
  ])
  const rows = page.filter((row) => row.event_nid !== null)
  const last = rows.at(-1)
  const untils = new Map(rooms.map(({ room, until }) => [room.roomNid, until]))
  const shown = await showResults(reader, request, rows, new Map(rooms.map(byNid)), untils, ignored)
  return {
    ...shown,
    count: page[0]!.total,
    highlights,
    // Whether anything follows a full page is found out by who asks for it.
    next: last && rows.length === limit ? encodeNext(request, last) : undefined,
    untils,
  }
}

const byNid = ({ room }: { room: RoomRef }): [number, RoomRef] => [room.roomNid, room]

type Searched = { room: RoomRef; until: number }

/** Where a user may search, and up to where: for whoever left, not what came later. */
async function searchedRooms(sql: Sql, userId: string): Promise<Searched[]> {
  const rows = await search.rooms(sql, userId, maxRooms)
  const known = rows.flatMap((row) => {
    const room = toRef(row)
    return room ? [{ room, row }] : []
  })
  const departed = known.filter(({ row }) => row.membership !== 'join')
  const [forgotten, left] = await Promise.all([
    forgottenOf(
      sql,
      userId,
      departed.map(({ room, row }) => ({ ...room, eventNid: row.event_nid ?? undefined })),
    ),
    departed.length === 0
      ? []
      : readMembers.lastLeft(
          sql,
          departed.map(({ room, row }) => ({ ...room, at: row.position })),
          userId,
        ),
  ])
  const leftAt = new Map(left.map((row) => [row.room_nid, row.position]))
  return known
    .map(({ room, row }) => ({
      room,
      until:
        row.membership === 'join'
          ? Number.MAX_SAFE_INTEGER
          : (leftAt.get(room.roomNid) ?? neverJoined),
    }))
    .filter(({ room, until }) => until !== neverJoined && !forgotten.has(room.roomNid))
}

/** Loads what was found, and what stands next to it, as far as its reader may see it. */
async function showResults(
  { sql, snapshots }: RelationsReader,
  { userId, filter, context }: SearchRequest,
  rows: readonly search.FoundRow[],
  rooms: ReadonlyMap<number, RoomRef>,
  untils: ReadonlyMap<number, number>,
  ignored: ReadonlySet<string>,
): Promise<Pick<Results, 'results' | 'seen'>> {
  const hits = rows.map((row) => ({ shard: row.shard, nid: row.event_nid }))
  const near =
    context && hits.length > 0
      ? await search.neighbours(sql, hits, context.before, context.after)
      : []
  const wanted = new Map(hits.map((hit) => [hit.nid, hit]))
  for (const { event_nid: nid } of near) wanted.set(nid, { nid, shard: shardOfNid(nid) })
  const loaded = await loadEvents(sql, rooms, [...wanted.values()])
  const asks = [...loaded.values()]
    .filter((event) => isShown(event) && !isIgnored(event, ignored))
    .map((event) => ({ event, joinedUntil: untilOf(untils.get(event.room.roomNid)) }))
  const seen = await visible(sql, snapshots, userId, asks)
  const show = (nid: number) => (seen.has(nid) ? loaded.get(nid) : undefined)
  const results = rows.flatMap((row): Result[] => {
    const event = show(row.event_nid)
    if (!event || event.redactedBecause || !filter.accepts(event.event)) return []
    const own = near.filter((each) => each.of_nid === event.nid)
    const side = (older: boolean) =>
      own.filter((each) => each.older === older).flatMap((each) => show(each.event_nid) ?? [])
    const [before, after] = [side(true), side(false)]
    return [
      {
        event,
        rank: row.rank,
        before,
        after,
        start: placeBy(before.at(-1) ?? event, 'before'),
        end: placeBy(after.at(-1) ?? event, 'after'),
      },
    ]
  })
  return { results, seen }
}

const isIgnored = ({ event }: ReadEvent, ignored: ReadonlySet<string>): boolean =>
  event.stateKey === undefined && ignored.has(event.sender)

const untilOf = (until: number | undefined): number =>
  until === Number.MAX_SAFE_INTEGER ? Infinity : (until ?? neverJoined)

function placeBy({ chain, index }: ReadEvent, side: TimelinePlace['side']): string | undefined {
  return chain === undefined || index === undefined
    ? undefined
    : encodePlace({ chain, index, side })
}

/** What people were called at events: by the number of each, user IDs and profiles. */
export async function profilesAt(
  { sql, snapshots }: Pick<RelationsReader, 'sql' | 'snapshots'>,
  results: readonly Result[],
): Promise<Map<number, Record<string, JsonObject>>> {
  const senders = new Set(
    results.flatMap(({ event, before, after }) =>
      [event, ...before, ...after].map((each) => each.event.sender),
    ),
  )
  const profiles = new Map<number, Record<string, JsonObject>>()
  if (senders.size === 0) return profiles
  const keys = await readKeys.stateKeyNids(
    sql,
    Array.from(senders, (stateKey) => ({ type: 'm.room.member', stateKey })),
  )
  const states = await snapshots.lookup(
    sql,
    [...new Set(results.flatMap(({ event }) => event.snapshot ?? []))],
    keys.map((row) => row.state_key_nid),
  )
  const nids = new Set([...states.values()].flatMap((state) => [...state.values()]))
  const rooms = new Map(results.map(({ event }) => [event.room.roomNid, event.room]))
  const members = await loadEvents(
    sql,
    rooms,
    Array.from(nids, (nid) => ({ nid, shard: shardOfNid(nid) })),
  )
  for (const { event, before, after } of results) {
    const state = event.snapshot === undefined ? undefined : states.get(event.snapshot)
    const own = new Set([event, ...before, ...after].map((each) => each.event.sender))
    // No prototype: user IDs are names from outside.
    const known = Object.create(null) as Record<string, JsonObject>
    for (const key of keys) {
      const member = own.has(key.state_key)
        ? members.get(state?.get(key.state_key_nid) ?? -1)
        : null
      if (!member) continue
      const name = displayNameOf(member.event.content)
      const avatar = avatarUrlOf(member.event.content)
      known[key.state_key] = {
        ...(name !== undefined && { displayname: name }),
        ...(avatar !== undefined && { avatar_url: avatar }),
      }
    }
    profiles.set(event.nid, known)
  }
  return profiles
}

/** The state of the rooms of some results, up to where their reader may see it. */
export async function statesOf(
  { sql, positions }: Pick<RelationsReader, 'sql' | 'positions'>,
  { results, untils }: Results,
): Promise<ReadEvent[]> {
  const rooms = new Map(results.map(({ event }) => [event.room.roomNid, event.room]))
  if (rooms.size === 0) return []
  const { rooms: now } = await positions.settled()
  const rows = await readState.stateAt(
    sql,
    Array.from(rooms.values(), ({ shard, roomNid }) => ({
      shard,
      roomNid,
      at: Math.min(untils.get(roomNid)!, now[shard]!),
    })),
    false,
  )
  const wanted = rows.map((row) => ({ shard: row.shard, nid: row.event_nid }))
  return [...(await loadEvents(sql, rooms, wanted)).values()]
}

const encodeNext = ({ byRank }: SearchRequest, { value, event_nid: nid }: search.FoundRow) =>
  Buffer.from(JSON.stringify([byRank ? 1 : 0, value, nid])).toString('base64url')

function decodeNext({ nextBatch, byRank }: SearchRequest): { value: number; nid: number } {
  try {
    const parts: unknown = JSON.parse(Buffer.from(nextBatch!, 'base64url').toString())
    if (Array.isArray(parts) && parts.length === 3 && parts[0] === (byRank ? 1 : 0)) {
      const [, value, nid] = parts as unknown[]
      if (Number.isFinite(value) && Number.isSafeInteger(nid))
        return { value: value as number, nid: nid as number }
    }
  } catch {
    // Not JSON: not one of ours.
  }
  throw invalidParam("'next_batch' is not of this search")
}
