import { Type as t } from '@sinclair/typebox'
import { requireAlias, requireClaim } from '#api/client-server/room/aliases.ts'
import { takeBackAlias } from '#api/client-server/room/canonical-alias.ts'
import { maySendState } from '#api/client-server/room/power.ts'
import { accessOf } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { MatrixError, forbidden, invalidParam, notFound } from '#core/error.ts'
import { domainOf, isRoomAlias } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'
import { findRoom, notInRoom } from '#engine/read/room.ts'
import { serversOf } from '#engine/read/servers.ts'
import { isWorldReadable } from '#engine/read/state-at.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as roomAliases from '#store/user/room-aliases.ts'
import type { Context } from '#src/context.ts'

const path = '/directory/room/:roomAlias'
const params = open({ roomAlias: t.String() })

export const getRoomIdByAlias = op({
  id: 'getRoomIdByAlias',
  method: 'GET',
  path: `/_matrix/client/v3${path}`,
  also: [`/_matrix/client/r0${path}`],
  auth: 'none',
  limit: 'lookup',
  params,
  response: open({ room_id: RoomId, servers: t.Array(t.String()) }),

  async run({ params: { roomAlias } }, ctx) {
    const { roomId, servers } = await requireAlias(ctx, roomAlias)
    if (domainOf(roomAlias) !== ctx.serverName) return { room_id: roomId, servers }
    // Who joins may do so through others when we cannot be reached.
    const room = await findRoom(ctx.sql, roomId)
    const others = room ? await serversOf(ctx.sql, room) : []
    return { room_id: roomId, servers: [...new Set([...servers, ...others])] }
  },
})

export const setRoomAlias = op({
  id: 'setRoomAlias',
  method: 'PUT',
  path: `/_matrix/client/v3${path}`,
  also: [`/_matrix/client/r0${path}`],
  auth: 'user',
  limit: 'change',
  params,
  body: open({ room_id: RoomId }),

  async run({ who, params: { roomAlias }, body }, ctx) {
    requireOwnAlias(ctx, roomAlias)
    requireClaim(ctx, who, roomAlias)
    const access = await accessOf(ctx, who, body.room_id)
    if (access?.standing?.membership !== 'join' && !(who.admin && access))
      throw notInRoom(who.userId, body.room_id)
    const { userId } = who
    if (!(await roomAliases.add(ctx.sql, roomAlias, body.room_id, userId, ctx.clock())))
      throw new MatrixError(409, 'M_UNKNOWN', `The alias ${roomAlias} exists already`)
    return {}
  },
})

export const deleteRoomAlias = op({
  id: 'deleteRoomAlias',
  method: 'DELETE',
  path: `/_matrix/client/v3${path}`,
  also: [`/_matrix/client/r0${path}`],
  auth: 'user',
  limit: 'change',
  params,

  async run({ who, params: { roomAlias } }, ctx) {
    requireOwnAlias(ctx, roomAlias)
    requireClaim(ctx, who, roomAlias)
    const alias = await roomAliases.get(ctx.sql, roomAlias)
    if (!alias) throw notFound(`The alias ${roomAlias} does not exist`)
    if (!(await mayDelete(ctx, who, alias)))
      throw forbidden(
        'Only who made the alias, or who may set the aliases of the room, may do this',
      )
    await roomAliases.remove(ctx.sql, roomAlias)
    await takeBackAlias(ctx, who, alias.room_id, roomAlias)
    return {}
  },
})

export const getLocalAliases = op({
  id: 'getLocalAliases',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/aliases',
  also: [
    '/_matrix/client/r0/rooms/:roomId/aliases',
    '/_matrix/client/unstable/org.matrix.msc2432/rooms/:roomId/aliases',
  ],
  auth: 'user',
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  response: open({ aliases: t.Array(t.String()) }),

  async run({ who, params: { roomId } }, ctx) {
    const access = await accessOf(ctx, who, roomId)
    if (!access) throw notInRoom(who.userId, roomId)
    if (access.standing?.membership !== 'join' && !who.admin) {
      const { rooms } = await ctx.positions.settled()
      const { shard } = access.room
      if (!(await isWorldReadable(ctx.sql, access, rooms[shard]!)))
        throw notInRoom(who.userId, roomId)
    }
    return { aliases: await roomAliases.ofRoom(ctx.sql, roomId) }
  },
})

function requireOwnAlias({ serverName }: Context, alias: string): void {
  if (!isRoomAlias(alias)) throw invalidParam(`'${alias}' is not a room alias`)
  if (domainOf(alias) !== serverName)
    throw invalidParam(`'${alias}' is an alias of another server, not of ${serverName}`)
}

/**
 * Not spec: who made it, who may set the room's aliases, or an administrator. An application service
 * has full control over its namespaces.
 */
async function mayDelete(
  ctx: Context,
  who: Session,
  alias: roomAliases.RoomAlias,
): Promise<boolean> {
  if (who.admin || who.appservice || alias.creator === who.userId) return true
  const access = await accessOf(ctx, who, alias.room_id)
  if (access?.standing?.membership !== 'join') return false
  return maySendState(ctx, access, who.userId, 'm.room.canonical_alias')
}
