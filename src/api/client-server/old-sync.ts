import { Type as t } from '@sinclair/typebox'
import { accessOf, audienceOf, limitIn, writeEvents } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { parseFilter } from '#core/filter.ts'
import { type JsonObject, isObject } from '#core/json.ts'
import { Content, EventId, open } from '#core/schema.ts'
import { readEvent } from '#engine/read/event.ts'
import { writeEvent } from '#engine/read/events.ts'
import { roomOfEvent } from '#engine/read/listed-rooms.ts'
import { ownMemberEvents } from '#engine/read/own-rooms.ts'
import { noSuchEvent } from '#engine/read/room.ts'
import { decodeToken, encodeToken } from '#engine/read/sync-token.ts'
import { sync } from '#engine/sync/v3.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import type { Context } from '#src/context.ts'

// What there was before /sync, made of its answers. Not spec: without what came for the device alone,
// since a client that uses both would lose it here.

const maxTimeoutMs = 120_000
const maxEvents = 100

type Room = {
  timeline: { events: JsonObject[]; prev_batch?: string }
  state_after?: { events: JsonObject[] }
  account_data?: { events: JsonObject[] }
}
type Rooms = Readonly<Record<string, Room>>
type Answer = {
  next_batch: string
  presence?: { events: JsonObject[] }
  account_data?: { events: JsonObject[] }
  rooms?: { join?: Rooms; leave?: Rooms; invite?: Readonly<Record<string, object>> }
}

/** One round of /sync, as the old routes have it. */
const ask = async (
  ctx: Context,
  { userId }: Session,
  since: string | undefined,
  { limit, archived = false }: { limit: number; archived?: boolean },
  wait: { signal: AbortSignal; timeoutMs: number },
): Promise<Answer> =>
  (await sync(
    ctx,
    {
      userId,
      deviceId: '',
      since: since === undefined ? undefined : decodeToken(since),
      filter: filterFor(limit, archived),
      fullState: false,
      stateAfter: 'state_after',
    },
    wait.signal,
    wait.timeoutMs,
  )) as Answer

function filterFor(limit: number, includeLeave: boolean) {
  const filter = parseFilter({ room: { include_leave: includeLeave, timeline: { limit } } })
  if (typeof filter === 'string') throw new Error(filter)
  return filter
}

/** Events that name their room. */
const inRoom = (roomId: string, events: readonly JsonObject[] = []): JsonObject[] =>
  events.map((event) => ({ ...event, room_id: roomId }))

const entries = (rooms: Rooms | undefined) => Object.entries(rooms ?? {})

/** Spec: application-service-api/#using-sync-and-events */
function requireNamed(who: Session, named: boolean): void {
  if (who.appservice && !named)
    throw forbidden("An application service names the user whose events it wants: 'user_id'")
}

export const initialSync = op({
  id: 'initialSync',
  method: 'GET',
  path: '/_matrix/client/v3/initialSync',
  also: ['/_matrix/client/r0/initialSync'],
  auth: 'user',
  limit: 'lookup',
  query: open({ limit: t.Optional(t.Integer()), archived: t.Optional(t.Boolean()) }),
  response: open({ end: t.String(), rooms: t.Array(Content), presence: t.Array(Content) }),

  async run({ who, query, request }, ctx) {
    requireNamed(who, request.query.has('user_id'))
    const { archived = false } = query
    const limit = Math.max(1, limitIn(query.limit, 10, maxEvents))
    const wait = { signal: request.signal, timeoutMs: 0 }
    const answer = await ask(ctx, who, undefined, { limit, archived }, wait)
    const { next_batch: end, rooms = {} } = answer
    const memberships = new Set(['invite', 'leave', 'ban'])
    const own = await ownMemberEvents(ctx.sql, who.userId, memberships)
    const read = [
      ...entries(rooms.join).map((each) => [...each, 'join'] as const),
      ...entries(rooms.leave).map(
        ([roomId, room]) => [roomId, room, own.get(roomId)?.membership ?? 'leave'] as const,
      ),
    ]
    const published = await publishedRooms.among(
      ctx.sql,
      read.map(([roomId]) => roomId),
    )
    const written = read.map(([roomId, room, membership]) => ({
      room_id: roomId,
      membership,
      messages: {
        chunk: inRoom(roomId, room.timeline.events),
        ...(room.timeline.prev_batch !== undefined && { start: room.timeline.prev_batch }),
        end,
      },
      state: inRoom(roomId, room.state_after?.events),
      visibility: published.has(roomId) ? 'public' : 'private',
      account_data: room.account_data?.events ?? [],
    }))
    const audience = audienceOf(ctx, who)
    const invites = Object.keys(rooms.invite ?? {}).map((roomId) => {
      const invite = own.get(roomId)
      return {
        room_id: roomId,
        membership: 'invite',
        ...(invite && { invite: writeEvent(invite.event, audience) }),
      }
    })
    return {
      end,
      rooms: [...written, ...invites],
      presence: answer.presence?.events ?? [],
      account_data: answer.account_data?.events ?? [],
    }
  },
})

export const getEvents = op({
  id: 'getEvents',
  method: 'GET',
  path: '/_matrix/client/v3/events',
  also: ['/_matrix/client/r0/events'],
  auth: 'user',
  admits: ['guest'],
  query: open({ from: t.Optional(t.String()), timeout: t.Optional(t.Integer({ minimum: 0 })) }),
  response: open({ start: t.String(), end: t.String(), chunk: t.Array(Content) }),

  async run({ who, query, request }, ctx) {
    requireNamed(who, request.query.has('user_id'))
    // Without a token it begins with what comes.
    const start = query.from ?? encodeToken((await ctx.positions.view(who.userId)).vector)
    const answer = await ask(
      ctx,
      who,
      start,
      { limit: maxEvents },
      { signal: request.signal, timeoutMs: Math.min(query.timeout ?? 0, maxTimeoutMs) },
    )
    const { join, leave, invite = {} } = answer.rooms ?? {}
    const own = await invitesTo(ctx, who, Object.keys(invite))
    const chunk = [...entries(join), ...entries(leave)].flatMap(([roomId, room]) =>
      inRoom(roomId, room.timeline.events),
    )
    return { start, end: answer.next_batch, chunk: [...chunk, ...own] }
  },
})

async function invitesTo(
  ctx: Context,
  who: Session,
  roomIds: readonly string[],
): Promise<JsonObject[]> {
  if (roomIds.length === 0) return []
  const own = await ownMemberEvents(ctx.sql, who.userId, new Set(['invite']))
  const audience = audienceOf(ctx, who)
  return roomIds
    .flatMap((roomId) => own.get(roomId)?.event ?? [])
    .map((event) => writeEvent(event, audience))
    .filter(isObject)
}

export const getOneEvent = op({
  id: 'getOneEvent',
  method: 'GET',
  path: '/_matrix/client/v3/events/:eventId',
  also: ['/_matrix/client/r0/events/:eventId'],
  auth: 'user',
  params: open({ eventId: EventId }),
  response: Content,

  async run({ who, params: { eventId } }, ctx) {
    await ctx.positions.settled()
    const room = await roomOfEvent(ctx.sql, eventId)
    if (!room) throw noSuchEvent()
    const access = await accessOf(ctx, who, room.roomId)
    const { event, seen } = await readEvent(ctx, access, who.userId, eventId)
    const [json] = await writeEvents(ctx, who, [event], new Map([[event.nid, seen]]))
    return json!
  },
})
