import { Type as t } from '@sinclair/typebox'
import { forbidden, MatrixError } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import type { Json } from '#core/json.ts'
import { Content, EventId, RoomId, UserId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { maxAtOnce } from '#api/http/rate-limit.ts'
import { jsonText } from '#api/http/reply.ts'
import { requireSignedMember } from '#engine/federation/signed-member.ts'
import { requireAllowed } from '#engine/read/federation-room.ts'
import { listOf, stateBeforeEvent } from '#engine/read/federation-state.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import { readSummaries } from '#engine/read/summary.ts'
import type { Context } from '#src/context.ts'
import * as serve from '#store/federation/serve.ts'

const maxServers = 10_000

export const makeJoin = op({
  id: 'makeJoin',
  method: 'GET',
  path: '/_matrix/federation/v1/make_join/:roomId/:userId',
  auth: 'server',
  limit: 'peer_history',
  params: open({ roomId: RoomId, userId: UserId }),
  query: open({ ver: t.Optional(t.Array(t.String(), { maxItems: 200 })) }),

  async run({ who, params: { roomId, userId }, query: { ver: versions = ['1'] } }, ctx) {
    if (domainOf(userId) !== who.origin)
      throw forbidden(`${who.origin} cannot join a user of another server`)
    const room = await requireAllowed(ctx, roomId, who.origin)
    if (!versions.includes(room.version.id))
      throw new MatrixError(
        400,
        'M_INCOMPATIBLE_ROOM_VERSION',
        `The room has version ${room.version.id}, which your server does not know`,
        { room_version: room.version.id },
      )
    const made = await ctx.rooms.call('makeJoin', roomId, userId, versions, who.origin)
    return jsonText(`{"room_version":${JSON.stringify(made.version)},"event":${made.event}}`)
  },
})

export const sendJoinV2 = op({
  id: 'sendJoinV2',
  method: 'PUT',
  path: '/_matrix/federation/v2/send_join/:roomId/:eventId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params: open({ roomId: RoomId, eventId: EventId }),
  query: open({ omit_members: t.Optional(t.Boolean()) }),
  body: Content,

  async run({ who, params: { roomId, eventId }, query, body }, ctx) {
    const { origin } = who
    const omitted = query.omit_members === true
    const room = await requireAllowed(ctx, roomId, origin)
    const pdu = body as Json
    const check = { version: room.version, roomId, eventId, origin, membership: 'join' } as const
    const { sender } = await requireSignedMember(ctx.federation, ctx.clock, pdu, check)
    const joined = await ctx.rooms.call('sendJoin', roomId, origin, JSON.stringify(pdu))

    const before = await stateBeforeEvent(ctx, room, joined.eventId)
    const state = omitted ? await withoutMembers(ctx, room, sender, before.state) : before.state
    const whole = await serve.authChain(ctx.sql, room.shard, [...state, before.eventNid])
    const listed = new Set(omitted ? state : [])
    const chain = whole.filter((nid) => !listed.has(nid))
    const servers = await serve.serversIn(ctx.sql, room.shard, room.roomNid, maxServers)
    return jsonText(
      `{"origin":${JSON.stringify(ctx.serverName)},"members_omitted":${omitted},` +
        `"servers_in_room":${JSON.stringify(servers)},"event":${joined.event},` +
        `"state":${await listOf(ctx.sql, room, state)},` +
        `"auth_chain":${await listOf(ctx.sql, room, chain)}}`,
    )
  },
})

/** The position of what is newest. */
const now = Number.MAX_SAFE_INTEGER

/** A state without memberships but those by which the joining user's clients name a room that has no name. */
async function withoutMembers(
  { sql }: Context,
  room: RoomRef,
  joiner: string,
  state: readonly number[],
): Promise<number[]> {
  const summary = (await readSummaries(sql, joiner, [{ ...room, at: now }])).get(room.roomNid)
  return serve.withoutMembers(sql, room.shard, state, summary?.heroes ?? [])
}
