import { Type as t } from '@sinclair/typebox'
import { rulesOf } from '#api/client-server/push/rules.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { MatrixError, forbidden, invalidParam, notFound } from '#core/error.ts'
import { isRoomId, isShortText } from '#core/ids.ts'
import { Content, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as accountData from '#store/user/account-data.ts'
import type { Context } from '#src/context.ts'

const globalPath = '/user/:userId/account_data/:type'
const roomPath = '/user/:userId/rooms/:roomId/account_data/:type'
const globalParams = open({ userId: t.String(), type: t.String() })
const roomParams = open({ userId: t.String(), roomId: t.String(), type: t.String() })

export const setAccountData = op({
  id: 'setAccountData',
  method: 'PUT',
  path: `/_matrix/client/v3${globalPath}`,
  also: [`/_matrix/client/r0${globalPath}`],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: globalParams,
  body: Content,
  run: ({ who, params, body, request }, ctx) => put(ctx, who, params, body, request.text),
})

export const getAccountData = op({
  id: 'getAccountData',
  method: 'GET',
  path: `/_matrix/client/v3${globalPath}`,
  also: [`/_matrix/client/r0${globalPath}`],
  auth: 'user',
  params: globalParams,
  run: ({ who, params }, ctx) => get(ctx, who, params),
})

export const setAccountDataPerRoom = op({
  id: 'setAccountDataPerRoom',
  method: 'PUT',
  path: `/_matrix/client/v3${roomPath}`,
  also: [`/_matrix/client/r0${roomPath}`],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: roomParams,
  body: Content,
  run: ({ who, params, body, request }, ctx) => put(ctx, who, params, body, request.text),
})

export const getAccountDataPerRoom = op({
  id: 'getAccountDataPerRoom',
  method: 'GET',
  path: `/_matrix/client/v3${roomPath}`,
  also: [`/_matrix/client/r0${roomPath}`],
  auth: 'user',
  params: roomParams,
  run: ({ who, params }, ctx) => get(ctx, who, params),
})

type Place = { userId: string; roomId?: string; type: string }

/** Written by other calls, which check what they write. Spec: client-server-api/#server-behaviour-9 */
const managed = new Set(['m.fully_read', 'm.push_rules'])

async function put(ctx: Context, who: Session, place: Place, body: Content, text?: string) {
  requireOwn(who, place)
  if (managed.has(place.type))
    throw new MatrixError(405, 'M_BAD_JSON', `${place.type} cannot be set through this API`)
  // The text as it came, where there is any, says more than what was read of it.
  const content = text === undefined || text === '' ? JSON.stringify(body) : text
  const { userId } = who
  await ctx.users.call('putAccountData', userId, place.roomId ?? null, place.type, content)
  return {}
}

async function get(ctx: Context, who: Session, place: Place) {
  requireOwn(who, place)
  const { userId, roomId = '', type } = place
  const content = await accountData.get(ctx.sql, shardOf(userId), userId, roomId, type)
  if (type === 'm.push_rules' && roomId === '') return { global: rulesOf(userId, content) }
  if (content === undefined) throw notFound(`There is no ${type}`)
  return jsonText(content)
}

function requireOwn(who: Session, { userId, roomId, type }: Place): void {
  if (userId !== who.userId) throw forbidden('The account data of other users is theirs')
  if (roomId !== undefined && !isRoomId(roomId)) throw invalidParam(`'${roomId}' is not a room ID`)
  if (type === '' || !isShortText(type)) throw invalidParam('A type has 1 to 255 bytes')
}
