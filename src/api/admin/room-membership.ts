import { Type as t } from '@sinclair/typebox'
import { requireRoom } from '#api/admin/rooms/find.ts'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { requireNotBlocked } from '#api/client-server/room/blocked.ts'
import { join } from '#api/client-server/room/join.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { memberContent } from '#api/client-server/room/member-content.ts'
import { requireNamed } from '#api/client-server/room/through.ts'
import { op } from '#api/http/op.ts'
import { joinRuleOf } from '#core/content/m.room.join_rules.ts'
import { eventLevel, powerLevels, userLevel } from '#core/content/m.room.power_levels.ts'
import { MatrixError, invalidParam } from '#core/error.ts'
import { isUserId } from '#core/ids.ts'
import { type JsonObject, isObject } from '#core/json.ts'
import { RoomId, open } from '#core/schema.ts'
import { localMembersOf } from '#engine/read/listed-rooms.ts'
import { findAccess } from '#engine/read/room.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import { readKeys } from '#engine/read/state-at.ts'
import type { Context } from '#src/context.ts'

// Whom administrators bring into rooms, and to power, in the form that known tools speak.

const path = '/_synapse/admin/v1'

export const joinUserToRoom = op({
  id: 'joinUserToRoom',
  method: 'POST',
  path: `${path}/join/:roomIdOrAlias`,
  auth: 'admin',
  params: open({ roomIdOrAlias: t.String() }),
  query: open({
    via: t.Optional(t.Array(t.String())),
    server_name: t.Optional(t.Array(t.String())),
  }),
  body: open({ user_id: t.String() }),
  response: open({ room_id: RoomId }),

  async run({ who, params: { roomIdOrAlias: name }, query, body: { user_id: userId } }, ctx) {
    await localUser(ctx, userId)
    const { roomId, via } = await requireNamed(ctx, name, query)
    await requireNotBlocked(ctx, roomId)
    const access = await findAccess(ctx.sql, roomId, userId)
    const membership = access?.standing?.membership
    // Where not everybody may join, the administrator must be one who may invite.
    if (access && membership !== 'join' && membership !== 'invite' && userId !== who.userId) {
      const { join_rules: rules } = await stateOf(ctx, access.room)
      if (joinRuleOf(rules?.content) !== 'public') await invite(ctx, roomId, who.userId, userId)
    }
    return join(ctx, userId, roomId, via, {})
  },
})

export const makeRoomAdmin = op({
  id: 'makeRoomAdmin',
  method: 'POST',
  path: `${path}/rooms/:roomId/make_room_admin`,
  auth: 'admin',
  // Or an alias of it.
  params: open({ roomId: t.String() }),
  body: open({ user_id: t.Optional(t.String()) }),

  async run({ who, params: { roomId: name }, body: { user_id: userId = who.userId } }, ctx) {
    if (!isUserId(userId)) throw invalidParam(`${userId} is not a user ID`)
    const { roomId } = await requireNamed(ctx, name, {})
    const room = await requireRoom(ctx, roomId)
    const state = await stateOf(ctx, room)
    const content = state.power_levels?.content ?? {}
    const levels = powerLevels(room.version, state.power_levels?.content, state.create)
    const joined = (await localMembersOf(ctx, roomId)).filter((each) => each.membership === 'join')
    const levelOf = (id: string) => userLevel(levels, id)
    const [strongest] = joined.map((each) => each.user_id).sort((a, b) => levelOf(b) - levelOf(a))
    const needed = eventLevel(levels, 'm.room.power_levels', true)
    if (strongest === undefined || levelOf(strongest) < needed)
      throw new MatrixError(400, 'M_UNKNOWN', 'No user of this server has the power to give power')
    if (levelOf(userId) < levelOf(strongest)) {
      // v12+: who made the room has more than any level that can be given.
      const given = Math.min(levelOf(strongest), Math.max(100, needed))
      const users: JsonObject = isObject(content['users']) ? content['users'] : {}
      const at = await ctx.rooms.call('send', roomId, {
        sender: strongest,
        type: 'm.room.power_levels',
        stateKey: '',
        content: JSON.stringify({ ...content, users: { ...users, [userId]: given } }),
      })
      landed(ctx, at)
    }
    const access = await findAccess(ctx.sql, roomId, userId)
    const membership = access?.standing?.membership
    if (membership !== 'join' && membership !== 'invite')
      await invite(ctx, roomId, strongest, userId)
    return {}
  },
})

async function invite(ctx: Context, roomId: string, sender: string, target: string): Promise<void> {
  const at = await ctx.rooms.call('changeMembership', roomId, {
    sender,
    target,
    membership: 'invite',
    content: await memberContent(ctx, target, undefined),
  })
  landed(ctx, at)
}

/** What says who may do what in a room. */
async function stateOf({ sql, positions }: Context, room: RoomRef) {
  const { rooms } = await positions.settled()
  const types = ['create', 'join_rules', 'power_levels'] as const
  const events = await readKeys(
    sql,
    { room },
    rooms[room.shard]!,
    types.map((type) => ({ type: `m.room.${type}`, stateKey: '' })),
  )
  const find = (type: string) => events.find(({ event }) => event.type === `m.room.${type}`)?.event
  return {
    create: find('create'),
    join_rules: find('join_rules'),
    power_levels: find('power_levels'),
  }
}
