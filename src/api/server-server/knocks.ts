import { Type as t } from '@sinclair/typebox'
import { forbidden, invalidParam, MatrixError } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import type { Json } from '#core/json.ts'
import { Content, EventId, RoomId, UserId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { requireSignedMember } from '#engine/federation/signed-member.ts'
import { requireAllowed } from '#engine/read/federation-room.ts'

export const makeKnock = op({
  id: 'makeKnock',
  method: 'GET',
  path: '/_matrix/federation/v1/make_knock/:roomId/:userId',
  auth: 'server',
  limit: 'peer_history',
  params: open({ roomId: RoomId, userId: UserId }),
  query: open({ ver: t.Array(t.String(), { maxItems: 200 }) }),

  async run({ who, params: { roomId, userId }, query: { ver: versions } }, ctx) {
    if (domainOf(userId) !== who.origin)
      throw forbidden(`${who.origin} cannot knock for a user of another server`)
    const { version } = await requireAllowed(ctx, roomId, who.origin)
    if (!versions.includes(version.id))
      throw new MatrixError(
        400,
        'M_INCOMPATIBLE_ROOM_VERSION',
        `The room has version ${version.id}, which your server does not know`,
        { room_version: version.id },
      )
    const made = await ctx.rooms.call('makeKnock', roomId, userId, versions, who.origin)
    return jsonText(`{"room_version":${JSON.stringify(made.version)},"event":${made.event}}`)
  },
})

export const sendKnock = op({
  id: 'sendKnock',
  method: 'PUT',
  path: '/_matrix/federation/v1/send_knock/:roomId/:eventId',
  auth: 'server',
  limit: 'peer_history',
  params: open({ roomId: RoomId, eventId: EventId }),
  body: Content,

  async run({ who: { origin }, params: { roomId, eventId }, body }, ctx) {
    const { version } = await requireAllowed(ctx, roomId, origin)
    if (!version.knocking) throw invalidParam(`Room version ${version.id} knows no knocks`)
    const pdu = body as Json
    const check = { version, roomId, eventId, origin, membership: 'knock' } as const
    await requireSignedMember(ctx.federation, ctx.clock, pdu, check)
    const { state } = await ctx.rooms.call('sendKnock', roomId, origin, JSON.stringify(pdu))
    return jsonText(`{"knock_room_state":[${state.join(',')}]}`)
  },
})
