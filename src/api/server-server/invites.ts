import { Type as t } from '@sinclair/typebox'
import { forbidden, invalidParam, MatrixError } from '#core/error.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import { signEvent } from '#core/event/build.ts'
import { domainOf } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { Content, EventId, RoomId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { receiveWithKeys } from '#engine/federation/received.ts'
import { requireSignedMember } from '#engine/federation/signed-member.ts'
import { requireNotKeptOut } from '#engine/read/federation-room.ts'
import { requireInvitable } from '#engine/read/federation-users.ts'
import * as blockedRooms from '#store/user/blocked-rooms.ts'
import type { Context } from '#src/context.ts'

const params = open({ roomId: RoomId, eventId: EventId })

/** Not spec: more than any room shows to those outside. */
const maxStateEvents = 100
const keyDeadlineMs = 10_000

export const sendInviteV2 = op({
  id: 'sendInviteV2',
  method: 'PUT',
  path: '/_matrix/federation/v2/invite/:roomId/:eventId',
  auth: 'server',
  params,
  body: open({
    room_version: t.String(),
    event: Content,
    invite_room_state: t.Optional(t.Array(t.Unknown(), { maxItems: maxStateEvents })),
  }),

  async run({ who, params, body }, ctx) {
    const version = roomVersions.get(body.room_version)
    if (!version)
      throw new MatrixError(
        400,
        'M_INCOMPATIBLE_ROOM_VERSION',
        'This server does not know the version of the room',
        { room_version: body.room_version },
      )
    const state = (body.invite_room_state ?? []) as Json[]
    const event = await take(ctx, {
      ...params,
      origin: who.origin,
      version,
      pdu: body.event as Json,
      state,
    })
    return jsonText(`{"event":${event}}`)
  },
})

export const sendInviteV1 = op({
  id: 'sendInviteV1',
  method: 'PUT',
  path: '/_matrix/federation/v1/invite/:roomId/:eventId',
  auth: 'server',
  params,
  body: Content,

  async run({ who, params, body }, ctx) {
    const { unsigned } = body as JsonObject
    const list = isObject(unsigned) ? unsigned['invite_room_state'] : undefined
    const state = Array.isArray(list) ? list.slice(0, maxStateEvents) : []
    // The room has version 1 or 2; the two look the same, and joining says which it is.
    const version = roomVersions.get('1')!
    const event = await take(ctx, {
      ...params,
      origin: who.origin,
      version,
      pdu: body as Json,
      state,
    })
    return jsonText(`[200,{"event":${event}}]`)
  },
})

type Invite = {
  roomId: string
  eventId: string
  origin: string
  version: RoomVersion
  pdu: Json
  state: readonly Json[]
}

/** Checks an invite, signs it and gives it to its room; the event with our signature, JSON text. */
async function take(ctx: Context, invite: Invite): Promise<string> {
  const { roomId, eventId, origin, version, pdu } = invite
  await requireNotKeptOut(ctx, roomId, origin)
  const check = { version, roomId, eventId, origin, membership: 'invite' } as const
  const event = await requireSignedMember(ctx.federation, ctx.clock, pdu, check)
  const { stateKey: invitee } = event
  if (invitee === undefined || domainOf(invitee) !== ctx.serverName)
    throw invalidParam('The invited user is not one of this server')
  await orMade(
    async () => (await requireInvitable(ctx.sql, invitee), true),
    () => ctx.bridges.questions.makesUser(invitee),
  )
  if ((await blockedRooms.blockedBy(ctx.sql, roomId)) !== undefined)
    throw forbidden('This room has been blocked on this server')
  const state = await checkState(ctx, invite)

  const signing = { serverName: ctx.serverName, key: ctx.signingKey }
  const signed = canonicalEvent(version, signEvent(version, event.pdu, signing))
  if (signed === undefined) throw invalidParam('The event is not canonical JSON')
  await ctx.rooms.call('receiveInvite', roomId, version.id, signed, state)
  return signed
}

/**
 * The state that comes with an invite, as JSON texts. In v12+ each entry must be a good event of the
 * room, the create event among them; before, servers still send stripped events.
 */
async function checkState(ctx: Context, invite: Invite): Promise<string[]> {
  const { roomId, version, state } = invite
  // v1–v11: what is no state event at all is left out.
  if (!version.createEventIsRoomId)
    return state.filter(isStripped).map((each) => JSON.stringify(each))

  const judged = await receiveWithKeys(
    ctx.federation,
    ctx.clock,
    version,
    state,
    { roomId, anyListLength: true },
    keyDeadlineMs,
  )
  const events = judged.map((each) => {
    if (each.outcome === 'drop') throw invalidParam(`invite_room_state: ${each.reason}`)
    // What was redacted has a hash that is wrong, and what is left of it is good.
    return each.event
  })
  if (!events.some(({ type, stateKey }) => type === 'm.room.create' && stateKey === ''))
    throw invalidParam('invite_room_state: The create event of the room is missing')
  return events.map(({ pdu }) => JSON.stringify(pdu))
}

const isStripped = (entry: Json): boolean =>
  isObject(entry) &&
  typeof entry['type'] === 'string' &&
  typeof entry['state_key'] === 'string' &&
  typeof entry['sender'] === 'string' &&
  isObject(entry['content'])
