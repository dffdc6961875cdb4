import { Type as t } from '@sinclair/typebox'
import { checkCanonicalAlias } from '#api/client-server/room/aliases.ts'
import { requireNotBlocked } from '#api/client-server/room/blocked.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { requireWilling } from '#api/client-server/room/willing.ts'
import { Timestamp, massaged } from '#api/client-server/room/massaged.ts'
import { op } from '#api/http/op.ts'
import { canonicalJson } from '#core/canonical-json.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { creatorsOf } from '#core/content/m.room.create.ts'
import { badJson, invalidParam } from '#core/error.ts'
import { isUserId } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { Content, EventId, RoomId, open } from '#core/schema.ts'
import { findAccess } from '#engine/read/room.ts'
import { readKey } from '#engine/read/state-at.ts'
import type { Landed } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'

export const setRoomStateWithKey = op({
  id: 'setRoomStateWithKey',
  method: 'PUT',
  path: '/_matrix/client/v3/rooms/:roomId/state/:eventType/:stateKey',
  also: [
    '/_matrix/client/r0/rooms/:roomId/state/:eventType/:stateKey',
    // Clients leave out an empty state key, with its slash or without.
    '/_matrix/client/v3/rooms/:roomId/state/:eventType',
    '/_matrix/client/r0/rooms/:roomId/state/:eventType',
  ],
  auth: 'user',
  admits: ['guest'],
  limit: 'message',
  params: open({ roomId: RoomId, eventType: t.String(), stateKey: t.Optional(t.String()) }),
  query: open({ ts: Timestamp }),
  body: Content,
  response: open({ event_id: EventId }),

  async run({ who, params: { roomId, eventType, stateKey = '' }, query, body, request }, ctx) {
    const { userId } = who
    const time = massaged(who, query.ts)
    const content = body as JsonObject
    const same = await sameAsBefore(ctx, userId, roomId, eventType, stateKey, content)
    if (same !== undefined) return { event_id: same }
    if (eventType === 'm.room.canonical_alias' && stateKey === '')
      await checkCanonicalAlias(ctx, roomId, content)
    // No rights make these right, so they are malformed rather than forbidden.
    if (eventType === 'm.room.create') throw badJson('A room has one m.room.create, which makes it')
    if (eventType === 'm.room.power_levels' && stateKey === '')
      await checkCreators(ctx, userId, roomId, content)
    const at =
      eventType === 'm.room.member'
        ? await setMember(ctx, userId, roomId, stateKey, content, time)
        : await ctx.rooms.call('send', roomId, {
            sender: userId,
            type: eventType,
            stateKey,
            content: request.text || '{}',
            ...time,
          })
    return { event_id: landed(ctx, at) }
  },
})

/** The state event there is, if the caller sent it with this very content: nothing changes then. */
async function sameAsBefore(
  ctx: Context,
  userId: string,
  roomId: string,
  type: string,
  stateKey: string,
  content: JsonObject,
): Promise<string | undefined> {
  const access = await findAccess(ctx.sql, roomId, userId)
  if (access?.standing?.membership !== 'join') return undefined
  const { rooms } = await ctx.positions.settled()
  const before = await readKey(ctx.sql, access, rooms[access.room.shard]!, type, stateKey)
  if (before?.event.sender !== userId || before.redactedBecause) return undefined
  const text = canonicalJson(content, 'tolerant')
  return text !== undefined && text === canonicalJson(before.event.content, 'tolerant')
    ? before.event.eventId
    : undefined
}

/**
 * v12+: power levels never name a creator.
 *
 * Spec: rooms/v12/#authorization-rules, 10.4
 */
async function checkCreators(
  ctx: Context,
  userId: string,
  roomId: string,
  { users }: JsonObject,
): Promise<void> {
  const access = await findAccess(ctx.sql, roomId, userId)
  if (!access?.room.version.privilegedCreators || access.standing?.membership !== 'join') return
  const { rooms } = await ctx.positions.settled()
  const create = await readKey(ctx.sql, access, rooms[access.room.shard]!, 'm.room.create', '')
  if (!create || !isObject(users ?? null)) return
  const named = creatorsOf(create.event).find((creator) => Object.hasOwn(users as object, creator))
  if (named !== undefined) throw badJson(`${named} made the room: their power cannot be set`)
}

/** A membership set as state goes the way of the call that the spec has for it. */
async function setMember(
  ctx: Context,
  sender: string,
  roomId: string,
  target: string,
  content: JsonObject,
  time: { timestamp?: number },
): Promise<Landed> {
  if (!isUserId(target)) throw invalidParam('The state key of an m.room.member is a user ID')
  const membership = membershipOf(content)
  if (membership === undefined) throw invalidParam('`membership` is missing, or unknown')
  if (membership === 'invite') await requireWilling(ctx, target)
  if (membership === 'invite' || membership === 'knock') await requireNotBlocked(ctx, roomId)
  // Servers name who authorised a join, never clients.
  const { join_authorised_via_users_server: _, ...own } = content
  const text = JSON.stringify(own)
  if (membership !== 'join')
    return ctx.rooms.call('changeMembership', roomId, {
      sender,
      target,
      membership,
      content: text,
      ...time,
    })
  const access = sender === target ? await findAccess(ctx.sql, roomId, sender) : undefined
  // A name or picture for one room; or one user making another join, for the rules to refuse.
  if (access?.standing?.membership === 'join' || sender !== target)
    return ctx.rooms.call('send', roomId, {
      sender,
      type: 'm.room.member',
      stateKey: target,
      content: text,
      ...time,
    })
  await requireNotBlocked(ctx, roomId)
  return ctx.rooms.call('join', roomId, { userId: sender, content: text, via: [], ...time })
}
