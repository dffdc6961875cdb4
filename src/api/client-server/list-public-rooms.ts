import { type Static, Type as t } from '@sinclair/typebox'
import { maySendState } from '#api/client-server/room/power.ts'
import { accessOf } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { directoryOf } from '#engine/appservice/network.ts'
import { forbidden, invalidParam, notFound } from '#core/error.ts'
import { isServerName } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'
import { publicRooms } from '#engine/federation/remote-queries.ts'
import { readDirectory } from '#engine/read/directory.ts'
import { findRoom } from '#engine/read/room.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import type { Context } from '#src/context.ts'

const roomPath = '/directory/list/room/:roomId'
const Limit = t.Integer({ minimum: 0 })

export const getRoomVisibilityOnDirectory = op({
  id: 'getRoomVisibilityOnDirectory',
  method: 'GET',
  path: `/_matrix/client/v3${roomPath}`,
  also: [`/_matrix/client/r0${roomPath}`],
  auth: 'none',
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  response: open({ visibility: t.String() }),

  async run({ params: { roomId } }, ctx) {
    if (await publishedRooms.has(ctx.sql, roomId)) return { visibility: 'public' }
    if (!(await findRoom(ctx.sql, roomId))) throw notFound('There is no such room here')
    return { visibility: 'private' }
  },
})

export const setRoomVisibilityOnDirectory = op({
  id: 'setRoomVisibilityOnDirectory',
  method: 'PUT',
  path: `/_matrix/client/v3${roomPath}`,
  also: [`/_matrix/client/r0${roomPath}`],
  auth: 'user',
  limit: 'change',
  params: open({ roomId: RoomId }),
  body: open({
    visibility: t.Optional(t.Union([t.Literal('public'), t.Literal('private')])),
  }),

  async run({ who, params: { roomId }, body: { visibility = 'public' } }, ctx) {
    const access = await accessOf(ctx, who, roomId)
    if (!access) throw notFound('There is no such room here')
    if (!who.admin) {
      // Not spec: who may name the room's main alias may put it up, too.
      const isMember = access.standing?.membership === 'join'
      if (!isMember || !(await maySendState(ctx, access, who.userId, 'm.room.canonical_alias')))
        throw forbidden('You may not publish this room')
    }
    if (visibility === 'public') await publishedRooms.add(ctx.sql, roomId, ctx.clock())
    else await publishedRooms.remove(ctx.sql, roomId)
    return {}
  },
})

export const getPublicRooms = op({
  id: 'getPublicRooms',
  method: 'GET',
  path: '/_matrix/client/v3/publicRooms',
  also: ['/_matrix/client/r0/publicRooms'],
  auth: 'none',
  limit: 'lookup',
  query: open({
    limit: t.Optional(Limit),
    since: t.Optional(t.String()),
    server: t.Optional(t.String()),
    include_all_networks: t.Optional(t.Boolean()),
    third_party_instance_id: t.Optional(t.String()),
  }),

  run: ({ query: { server, ...query } }, ctx) => list(ctx, server, query),
})

const Query = open({
  limit: t.Optional(Limit),
  since: t.Optional(t.String()),
  filter: t.Optional(
    open({
      generic_search_term: t.Optional(t.Union([t.String(), t.Null()])),
      room_types: t.Optional(t.Union([t.Array(t.Union([t.String(), t.Null()])), t.Null()])),
    }),
  ),
  include_all_networks: t.Optional(t.Boolean()),
  third_party_instance_id: t.Optional(t.Union([t.String(), t.Null()])),
})

export const queryPublicRooms = op({
  id: 'queryPublicRooms',
  method: 'POST',
  path: '/_matrix/client/v3/publicRooms',
  also: ['/_matrix/client/r0/publicRooms'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'lookup',
  query: open({ server: t.Optional(t.String()) }),
  body: Query,

  run: ({ query: { server }, body }, ctx) => list(ctx, server, body),
})

/** Rooms of this server's directory, or of another one's. */
async function list(ctx: Context, server: string | undefined, query: Static<typeof Query>) {
  const { limit, since, filter } = query
  const term = filter?.generic_search_term ?? undefined
  const roomTypes = filter?.room_types ?? undefined
  if (server === undefined || server === ctx.serverName) {
    return readDirectory(ctx, { limit, since, term, roomTypes, directory: directoryOf(query) })
  }
  if (!isServerName(server)) throw invalidParam(`'${server}' is not a server name`)
  const { include_all_networks: includeAllNetworks, third_party_instance_id: instance } = query
  return publicRooms(ctx.federation, server, {
    ...(limit !== undefined && { limit }),
    ...(since !== undefined && { since }),
    ...(filter && {
      filter: {
        ...(term !== undefined && { generic_search_term: term }),
        ...(roomTypes && { room_types: roomTypes }),
      },
    }),
    ...(includeAllNetworks !== undefined && { includeAllNetworks }),
    ...(typeof instance === 'string' && { thirdPartyInstanceId: instance }),
  })
}
