import { MatrixError, RemoteError } from '#core/error.ts'
import { shardOfNid } from '#core/shard.ts'
import * as serve from '#store/federation/serve.ts'
import * as readTimes from '#store/room/read-times.ts'
import { isShown, loadEvents, type ReadEvent } from './events.ts'
import { type ServedReader, hiddenFrom } from './federation-events.ts'
import type { Reader, RoomAccess } from './room.ts'
import type { RoomRef } from './room-ref.ts'
import { serversOf } from './servers.ts'
import type { Snapshots } from './snapshots.ts'
import { joinedUntil, visible } from './visible.ts'
import { type Direction, walk } from './walk.ts'

/**
 * The event of a room that is nearest to a time, in a direction.
 *
 * Spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
 */

/** Events looked at in one statement, and in one request, for want of one that may be seen. */
const page = 50
const maxPages = 20
/** Other servers that one request asks. */
const maxServers = 3
/** Not spec: how much history is fetched to get to what another server names. */
const maxBackfills = 4
const perBackfill = 500

export type Timed = { eventId: string; originServerTs: number }

/** Asks another server for its nearest event of a room. */
export type AskForTime = (
  server: string,
  roomId: string,
  ts: number,
  direction: Direction,
) => Promise<Timed | undefined>

type TimeReader = Reader & { readonly snapshots: Snapshots }

/** For a user: what is here, or what other servers have where our history has a gap at that time. */
export async function eventAtTime(
  reader: TimeReader,
  access: RoomAccess,
  userId: string,
  ts: number,
  direction: Direction,
  ask: AskForTime,
): Promise<Timed | undefined> {
  const { room, standing } = access
  let own = await nearest(reader, access, userId, ts, direction)
  if (standing?.membership !== 'join') return own && timed(own)
  let there: Timed | undefined
  for (let count = 0; count < maxBackfills; count++) {
    const gap = await gapToward(reader, room, own, direction)
    if (!gap) break
    there ??= await askOthers(reader, ask, room, ts, direction)
    if (!there || (own && apart(timeOf(own), ts) <= apart(there.originServerTs, ts))) break
    if (!(await fill(reader, room, gap))) break
    // What has come is here as theirs is there, and this says whether the user may see it.
    own = await nearest(reader, access, userId, ts, direction)
  }
  return own && timed(own)
}

const timeOf = ({ event }: ReadEvent) => event.originServerTs
const apart = (one: number, other: number) => Math.abs(one - other)
const timed = ({ event }: ReadEvent): Timed => ({
  eventId: event.eventId,
  originServerTs: event.originServerTs,
})

/** The nearest that is here and may be seen. */
async function nearest(
  { sql, snapshots }: TimeReader,
  { room, standing }: RoomAccess,
  userId: string,
  ts: number,
  direction: Direction,
): Promise<ReadEvent | undefined> {
  const until = await joinedUntil(sql, room, userId, standing)
  return firstOf(reading(sql, room, ts, direction), async (rows) => {
    const loaded = await loadEvents(
      sql,
      new Map([[room.roomNid, room]]),
      rows.map(({ event_nid: nid }) => ({ shard: shardOfNid(nid), nid })),
    )
    const asks = rows
      .flatMap(({ event_nid: nid }) => loaded.get(nid) ?? [])
      .filter(isShown)
      .map((event) => ({ event, joinedUntil: until }))
    const seen = await visible(sql, snapshots, userId, asks)
    return asks.find(({ event }) => seen.has(event.nid))?.event
  })
}

/** For an administrator: what is here, whoever may see it. */
export const anyEventAtTime = (
  sql: Reader['sql'],
  room: RoomRef,
  ts: number,
  direction: Direction,
): Promise<Timed | undefined> =>
  firstOf(reading(sql, room, ts, direction), async (rows) => {
    const wanted = rows.map(({ event_nid: nid }) => ({ shard: room.shard, nid }))
    const loaded = await loadEvents(sql, new Map([[room.roomNid, room]]), wanted)
    const event = rows.flatMap(({ event_nid: nid }) => loaded.get(nid) ?? []).find(isShown)
    return event && timed(event)
  })

/**
 * For another server: what is here, as far as its users may see it.
 *
 * Spec: server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
 */
export async function servedAtTime(
  reader: ServedReader,
  room: RoomRef,
  origin: string,
  ts: number,
  direction: Direction,
): Promise<Timed | undefined> {
  const { sql } = reader
  return firstOf(reading(sql, room, ts, direction), async (rows) => {
    const nids = rows.map(({ event_nid: nid }) => nid)
    const found = await serve.byNids(sql, room.shard, nids)
    const hidden = await hiddenFrom(reader, room, origin, found)
    const row = rows.find(({ event_nid: nid }) => !hidden.has(nid))
    if (!row) return undefined
    const rooms = new Map([[room.roomNid, room]])
    const loaded = await loadEvents(sql, rooms, [{ shard: room.shard, nid: row.event_nid }])
    return timed(loaded.get(row.event_nid)!)
  })
}

/** Pages of events from a time on. */
async function* reading(
  sql: Reader['sql'],
  { shard, roomNid }: RoomRef,
  ts: number,
  direction: Direction,
): AsyncGenerator<readTimes.TimedRow[]> {
  let from: readTimes.TimedFrom = { ts }
  for (let count = 0; count < maxPages; count++) {
    // Most often the first will do.
    const limit = count === 0 ? 5 : page
    const rows = await readTimes.byTime(sql, shard, roomNid, from, direction, limit)
    if (rows.length > 0) yield rows
    if (rows.length < limit) return
    from = { ts, after: rows.at(-1)! }
  }
}

async function firstOf<T>(
  pages: AsyncIterable<readTimes.TimedRow[]>,
  choose: (rows: readTimes.TimedRow[]) => Promise<T | undefined>,
): Promise<T | undefined> {
  for await (const rows of pages) {
    const found = await choose(rows)
    if (found) return found
  }
  return undefined
}

/** What is missing between the event found and that time; without one, before all that there is. */
async function gapToward(
  { sql }: TimeReader,
  room: RoomRef,
  own: ReadEvent | undefined,
  direction: Direction,
): Promise<readonly string[] | undefined> {
  const back: Direction = direction === 'f' ? 'b' : 'f'
  if (own?.chain !== undefined && own.index !== undefined) {
    const side = back === 'b' ? 'before' : 'after'
    const step = await walk(sql, room, { chain: own.chain, index: own.index, side }, back, 1)
    return step?.stop === 'gap' && step.events.length === 0 ? step.missing : undefined
  }
  // After the newest event nothing is missing.
  if (direction === 'f') return undefined
  const [first] = await readTimes.firstGap(sql, room.shard, room.roomNid)
  return first?.gap?.length ? first.gap : undefined
}

/** The first answer of a server in the room; that they have none only means that ours stands. */
async function askOthers(
  { sql, serverName }: TimeReader,
  ask: AskForTime,
  room: RoomRef,
  ts: number,
  direction: Direction,
): Promise<Timed | undefined> {
  const servers = (await serversOf(sql, room)).filter((name) => name !== serverName)
  for (const server of servers.slice(0, maxServers)) {
    try {
      const found = await ask(server, room.roomId, ts, direction)
      const isThatWay = (time: number) => (direction === 'f' ? time >= ts : time <= ts)
      if (found && isThatWay(found.originServerTs)) return found
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
    }
  }
  return undefined
}

/** Fetches history at a gap, from its newer end; whether some came. */
async function fill(
  { rooms }: TimeReader,
  { roomId }: RoomRef,
  gap: readonly string[],
): Promise<boolean> {
  try {
    return (await rooms.call('backfill', roomId, [...gap], perBackfill)) > 0
  } catch (error) {
    if (error instanceof RemoteError || (error instanceof MatrixError && error.status >= 500))
      return false
    throw error
  }
}
