import { Type as t } from '@sinclair/typebox'
import { invalidParam, notFound } from '#core/error.ts'
import { domainOf, isRoomAlias, isUserId } from '#core/ids.ts'
import { open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { localAlias, localProfile } from '#engine/read/federation-users.ts'
import { findRoom } from '#engine/read/room.ts'
import * as serve from '#store/federation/serve.ts'

/** Not spec: servers named as ways into a room. */
const maxServers = 50

export const queryRoomDirectory = op({
  id: 'queryRoomDirectory',
  method: 'GET',
  path: '/_matrix/federation/v1/query/directory',
  auth: 'server',
  limit: 'peer',
  query: open({ room_alias: t.String() }),

  async run({ query: { room_alias: alias } }, ctx) {
    if (!isRoomAlias(alias)) throw invalidParam(`'${alias}' is not a room alias`)
    if (domainOf(alias) !== ctx.serverName) throw notFound('The alias is of another server')
    const roomId = (await orMade(
      () => localAlias(ctx.sql, alias),
      () => ctx.bridges.questions.makesRoom(alias),
    ))!
    const room = await findRoom(ctx.sql, roomId)
    const servers = room ? await serve.serversIn(ctx.sql, room.shard, room.roomNid, maxServers) : []
    // We know the room, and so are a way in.
    const others = servers.filter((server) => server !== ctx.serverName)
    return { room_id: roomId, servers: [ctx.serverName, ...others] }
  },
})

export const queryProfile = op({
  id: 'queryProfile',
  method: 'GET',
  path: '/_matrix/federation/v1/query/profile',
  auth: 'server',
  limit: 'peer',
  query: open({ user_id: t.String(), field: t.Optional(t.String()) }),

  async run({ query: { user_id: userId, field } }, ctx) {
    if (!isUserId(userId)) throw invalidParam(`'${userId}' is not a user ID`)
    if (domainOf(userId) !== ctx.serverName) throw notFound('The user is of another server')
    return orMade(
      () => localProfile(ctx.sql, userId, field),
      () => ctx.bridges.questions.makesUser(userId),
    )
  },
})

/** Kinds of queries other than the two above: none is known. */
export const queryInfo = op({
  id: 'queryInfo',
  method: 'GET',
  path: '/_matrix/federation/v1/query/:queryType',
  auth: 'server',
  limit: 'peer',
  params: open({ queryType: t.String() }),

  run({ params }) {
    throw notFound(`The query '${params.queryType}' is unknown`)
  },
})
