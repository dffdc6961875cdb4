import { parseEventFilter, EventFilter } from '#core/filter.ts'
import { invalidParam } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import { readBundles } from '#engine/read/bundles.ts'
import { type Audience, type ReadEvent, loadEvents, writeEvent } from '#engine/read/events.ts'
import { forgottenOf } from '#engine/read/forgotten.ts'
import { ignoredBy } from '#engine/read/ignored.ts'
import { type RoomAccess, findAccess } from '#engine/read/room.ts'
import type { Seen } from '#engine/read/visible.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { Context } from '#src/context.ts'

/** For whom the events of an answer are written out. */
export const audienceOf = (ctx: Context, who: Session): Audience => ({
  userId: who.userId,
  deviceId: who.deviceId,
  now: ctx.clock(),
  format: 'client',
  withoutRoomId: false,
  erased: ctx.erased,
})

/** A room and what the caller is to it, after everything that was answered before is readable. */
export async function accessOf(
  ctx: Context,
  who: Session,
  roomId: string,
): Promise<RoomAccess | undefined> {
  await ctx.positions.settled()
  const access = await findAccess(ctx.sql, roomId, who.userId)
  if (!access?.standing) return access
  const { room, standing } = access
  if (standing.membership !== 'leave' && standing.membership !== 'ban') return access
  // Who forgot a room is a stranger to it.
  const departed = [{ ...room, eventNid: standing.eventNid }]
  const forgotten = await forgottenOf(ctx.sql, who.userId, departed)
  return forgotten.size > 0 ? { room, standing: undefined } : access
}

/** Events with what they replaced and what relates to them, as the caller gets them. */
export async function writeEvents(
  ctx: Context,
  who: Session,
  events: readonly ReadEvent[],
  seen: ReadonlyMap<number, Seen>,
): Promise<JsonObject[]> {
  const rooms = new Map(events.map(({ room }) => [room.roomNid, room]))
  const audience = audienceOf(ctx, who)
  const related = async () =>
    readBundles(ctx, audience, await ignoredBy(ctx.sql, who.userId), events, seen)
  const [replaced, relations] = await Promise.all([
    loadEvents(
      ctx.sql,
      rooms,
      events.flatMap(({ replacedNid: nid }) =>
        nid === undefined ? [] : [{ shard: shardOfNid(nid), nid }],
      ),
    ),
    related(),
  ])
  return events.map((event) =>
    writeEvent(event, audience, {
      membership: seen.get(event.nid)?.membership,
      replaced: event.replacedNid === undefined ? undefined : replaced.get(event.replacedNid),
      relations: relations.get(event.nid),
    }),
  )
}

/** A filter in a query, as JSON text. */
export function filterIn(text: string | undefined): EventFilter {
  if (text === undefined || text === '') return new EventFilter()
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw invalidParam("'filter' is not JSON")
  }
  const filter = parseEventFilter(json)
  if (typeof filter === 'string') throw invalidParam(`'filter': ${filter}`)
  return filter
}

/** A limit in a query: the default if there is none, and never more than `max`. */
export function limitIn(limit: number | undefined, normal: number, max: number): number {
  if (limit !== undefined && limit < 0) throw invalidParam("'limit' is negative")
  return Math.min(limit ?? normal, max)
}
