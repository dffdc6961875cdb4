import { Type as t } from '@sinclair/typebox'
import { forbidden, invalidParam, MatrixError, notFound, RemoteError } from '#core/error.ts'
import { domainOf, isServerName } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, RoomId, UserId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { exchangeThirdPartyInvite as askToExchange } from '#engine/federation/remote-membership.ts'
import { requireAllowed } from '#engine/read/federation-room.ts'
import { requireInvitable } from '#engine/read/federation-users.ts'
import { findRoom } from '#engine/read/room.ts'
import type { Context } from '#src/context.ts'

/**
 * Invites of people by their e-mail address, made good for the user who turned out to have it.
 *
 * Spec: server-server-api/#third-party-invites
 */
const Signed = open({ mxid: t.String(), token: t.String(), signatures: Content })

/** Who was invited, by whom, and where. */
type Redeemed = { roomId: string; sender: string; target: string; thirdPartyInvite: JsonObject }

export const exchangeThirdPartyInvite = op({
  id: 'exchangeThirdPartyInvite',
  method: 'PUT',
  path: '/_matrix/federation/v1/exchange_third_party_invite/:roomId',
  auth: 'server',
  params: open({ roomId: RoomId }),
  body: open({
    type: t.String(),
    room_id: t.String(),
    sender: UserId,
    state_key: UserId,
    content: open({
      membership: t.String(),
      third_party_invite: open({ display_name: t.String(), signed: Signed }),
    }),
  }),

  async run({ who, params: { roomId }, body }, ctx) {
    await requireAllowed(ctx, roomId, who.origin)
    const { content, sender, state_key: target } = body
    if (body.type !== 'm.room.member' || content.membership !== 'invite')
      throw invalidParam('The event is no invite')
    if (body.room_id !== roomId) throw invalidParam('The event is of another room')
    const thirdPartyInvite = content.third_party_invite as JsonObject
    if (content.third_party_invite.signed.mxid !== target)
      throw invalidParam('The third-party invite is for another user')
    await redeem(ctx, { roomId, sender, target, thirdPartyInvite })
    return {}
  },
})

/** Whether it is good, and by a user who may invite, the rules of the room say. */
async function redeem(ctx: Context, { roomId, sender, target, ...rest }: Redeemed): Promise<void> {
  if (domainOf(target) === ctx.serverName) await requireInvitable(ctx.sql, target)
  await ctx.rooms.call('changeMembership', roomId, {
    sender,
    target,
    membership: 'invite',
    content: JSON.stringify({ third_party_invite: rest.thirdPartyInvite }),
  })
}

/** Not spec: invites that wait for one address. */
const maxInvites = 50

export const onBindThirdPartyIdentifier = op({
  id: 'onBindThirdPartyIdentifier',
  method: 'PUT',
  path: '/_matrix/federation/v1/3pid/onbind',
  auth: 'none',
  limit: 'invite',
  body: open({
    medium: t.String(),
    address: t.String(),
    mxid: UserId,
    invites: t.Array(
      open({
        medium: t.String(),
        address: t.String(),
        mxid: UserId,
        room_id: RoomId,
        sender: UserId,
        signed: Signed,
      }),
      { maxItems: maxInvites },
    ),
  }),

  async run({ body: { mxid, invites } }, ctx) {
    if (domainOf(mxid) !== ctx.serverName) throw forbidden('The user is not one of this server')
    await requireInvitable(ctx.sql, mxid)
    for (const invite of invites)
      if (invite.mxid !== mxid || invite.signed.mxid !== mxid)
        throw invalidParam('An invite is for another user')
    // One after the other: whoever asks is nobody whom we know.
    for (const { room_id: roomId, sender, signed } of invites)
      try {
        // The address is nothing for the room to know.
        const thirdPartyInvite = { display_name: mxid, signed } as JsonObject
        await issue(ctx, { roomId, sender, target: mxid, thirdPartyInvite })
      } catch (error) {
        // The others may be good.
        if (!isAnswer(error)) throw error
        ctx.log.info({ err: error, roomId }, 'a third-party invite was not redeemed')
      }
    return {}
  },
})

/** A refusal, or another server's failure; anything else is ours, and may pass. */
const isAnswer = (error: unknown) =>
  error instanceof RemoteError || (error instanceof MatrixError && error.status < 500)

/** Here if we are in the room, else at the inviter's server. */
async function issue(ctx: Context, redeemed: Redeemed): Promise<void> {
  const { roomId, sender, target, thirdPartyInvite } = redeemed
  const [room, known] = await Promise.all([
    findRoom(ctx.sql, roomId),
    ctx.intake.rooms.find(ctx.sql, [roomId]),
  ])
  if (room && known.get(roomId)?.kind === 'joined') return redeem(ctx, redeemed)
  const server = domainOf(sender)!
  if (!isServerName(server) || server === ctx.serverName)
    throw notFound('This server is not in the room')
  await askToExchange(ctx.federation, server, roomId, {
    type: 'm.room.member',
    room_id: roomId,
    sender,
    state_key: target,
    content: { membership: 'invite', third_party_invite: thirdPartyInvite },
  })
}
