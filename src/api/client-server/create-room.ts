import { type Static, Type as t } from '@sinclair/typebox'
import { requireClaim } from '#api/client-server/room/aliases.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { profilesOf } from '#api/client-server/room/member-content.ts'
import { newVersion } from '#api/client-server/room/new-version.ts'
import { takeSettingsAlong } from '#api/client-server/room/settings.ts'
import { noThirdParties } from '#api/client-server/room/third-party.ts'
import { requireWilling } from '#api/client-server/room/willing.ts'
import { op } from '#api/http/op.ts'
import { MatrixError, invalidParam } from '#core/error.ts'
import { isRoomAlias, isUserId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import { type RoomPlan, planRoom } from '#engine/room/local/plan-room.ts'
import type { MembershipChange } from '#engine/worker/protocol.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import * as roomAliases from '#store/user/room-aliases.ts'
import type { Context } from '#src/context.ts'

const Body = open({
  visibility: t.Optional(t.Union([t.Literal('public'), t.Literal('private')])),
  room_alias_name: t.Optional(t.String()),
  name: t.Optional(t.String()),
  topic: t.Optional(t.String()),
  invite: t.Optional(t.Array(t.String(), { maxItems: 1000 })),
  invite_3pid: t.Optional(t.Array(Content)),
  room_version: t.Optional(t.String()),
  creation_content: t.Optional(Content),
  initial_state: t.Optional(
    t.Array(open({ type: t.String(), state_key: t.Optional(t.String()), content: Content }), {
      maxItems: 1000,
    }),
  ),
  preset: t.Optional(
    t.Union([
      t.Literal('private_chat'),
      t.Literal('public_chat'),
      t.Literal('trusted_private_chat'),
    ]),
  ),
  is_direct: t.Optional(t.Boolean()),
  power_level_content_override: t.Optional(Content),
})

export const createRoom = op({
  id: 'createRoom',
  method: 'POST',
  path: '/_matrix/client/v3/createRoom',
  also: ['/_matrix/client/r0/createRoom'],
  auth: 'user',
  limit: 'join',
  body: Body,
  response: open({ room_id: RoomId }),

  async run({ who, body }, ctx) {
    const { userId } = who
    const { visibility = 'private', invite = [] } = body
    const version = newVersion(ctx, body.room_version ?? ctx.config.rooms.default_version)
    if (body.invite_3pid?.length) throw noThirdParties()
    for (const target of invite)
      if (!isUserId(target)) throw invalidParam(`${target} is not a user ID`)
    const alias = aliasOf(ctx, body.room_alias_name)
    if (alias !== undefined) requireClaim(ctx, who, alias)
    const profiles = await profilesOf(ctx, [userId, ...invite])
    const plan = planFor(ctx, userId, version, body, alias, profiles.get(userId) ?? {})
    const { roomId } = plan
    if (alias !== undefined) await reserve(ctx, alias, roomId, userId)
    try {
      landed(ctx, await ctx.rooms.call('create', roomId, plan.create))
    } catch (error) {
      if (alias !== undefined) await roomAliases.remove(ctx.sql, alias)
      throw asInvalidState(error)
    }
    if (visibility === 'public') await publishedRooms.add(ctx.sql, roomId, ctx.clock())
    await inviteAll(ctx, roomId, plan.invites, profiles)
    if (body.creation_content?.['predecessor'])
      await takeSettingsAlong(ctx, userId, roomId, { isOwnWork: true })
    return { room_id: roomId }
  },
})

function planFor(
  ctx: Context,
  creator: string,
  version: RoomVersion,
  body: Static<typeof Body>,
  alias: string | undefined,
  profile: JsonObject,
): RoomPlan {
  const { name, topic, invite = [] } = body
  return planRoom(
    {
      creator,
      version,
      preset: body.preset ?? (body.visibility === 'public' ? 'public_chat' : 'private_chat'),
      profile,
      invite: invite.filter((target) => target !== creator),
      isDirect: body.is_direct ?? false,
      ...(body.creation_content && { creationContent: body.creation_content as JsonObject }),
      ...(body.power_level_content_override && {
        powerLevelOverride: body.power_level_content_override as JsonObject,
      }),
      ...(body.initial_state && {
        initialState: body.initial_state.map((each) => ({
          type: each.type,
          content: each.content as JsonObject,
          ...(each.state_key !== undefined && { state_key: each.state_key }),
        })),
      }),
      ...(alias !== undefined && { canonicalAlias: alias }),
      ...(name !== undefined && name !== '' && { name }),
      ...(topic !== undefined && topic !== '' && { topic }),
    },
    { serverName: ctx.serverName, key: ctx.signingKey },
    ctx.clock(),
    crypto.getRandomValues(new Uint8Array(18)),
  )
}

function aliasOf(ctx: Context, localpart: string | undefined): string | undefined {
  if (localpart === undefined) return undefined
  const alias = `#${localpart}:${ctx.serverName}`
  if (localpart === '' || localpart.includes(':') || !isRoomAlias(alias))
    throw invalidParam("'room_alias_name' is not the local part of an alias")
  return alias
}

async function reserve(
  ctx: Context,
  alias: string,
  roomId: string,
  creator: string,
): Promise<void> {
  if (!(await roomAliases.add(ctx.sql, alias, roomId, creator, ctx.clock())))
    throw new MatrixError(400, 'M_ROOM_IN_USE', `The alias ${alias} is taken`)
}

/** What the rules refuse of a room's first events is the wish's fault, not the caller's rights. */
function asInvalidState(error: unknown): unknown {
  if (error instanceof MatrixError && error.status === 403)
    return new MatrixError(400, 'M_INVALID_ROOM_STATE', error.message)
  return error
}

/** Invites everyone; the room stands even if one of them cannot be reached, and the first failure is told. */
async function inviteAll(
  ctx: Context,
  roomId: string,
  invites: readonly MembershipChange[],
  profiles: ReadonlyMap<string, JsonObject>,
): Promise<void> {
  const results = await Promise.allSettled(
    invites.map(async (invite) => {
      await requireWilling(ctx, invite.target)
      const content = { ...profiles.get(invite.target), ...(JSON.parse(invite.content) as object) }
      return ctx.rooms.call('changeMembership', roomId, {
        ...invite,
        content: JSON.stringify(content),
      })
    }),
  )
  for (const result of results) if (result.status === 'fulfilled') landed(ctx, result.value)
  const failed = results.find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}
