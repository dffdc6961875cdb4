import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden, invalidParam } from '#core/error.ts'
import { isShortText } from '#core/ids.ts'
import { isObject } from '#core/json.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import * as accountData from '#store/user/account-data.ts'

const tagsPath = '/user/:userId/rooms/:roomId/tags'
const params = open({ userId: t.String(), roomId: RoomId })
const tagParams = open({ userId: t.String(), roomId: RoomId, tag: t.String() })

export const getRoomTags = op({
  id: 'getRoomTags',
  method: 'GET',
  path: `/_matrix/client/v3${tagsPath}`,
  also: [`/_matrix/client/r0${tagsPath}`],
  auth: 'user',
  params,
  response: open({ tags: Content }),

  async run({ who: { userId }, params: place }, ctx) {
    requireOwn(userId, place.userId)
    const text = await accountData.get(ctx.sql, shardOf(userId), userId, place.roomId, 'm.tag')
    const content: unknown = text === undefined ? undefined : JSON.parse(text)
    const tags = isObject(content) ? content['tags'] : undefined
    return { tags: isObject(tags) ? tags : {} }
  },
})

export const setRoomTag = op({
  id: 'setRoomTag',
  method: 'PUT',
  path: `/_matrix/client/v3${tagsPath}/:tag`,
  also: [`/_matrix/client/r0${tagsPath}/:tag`],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: tagParams,
  body: open({ order: t.Optional(t.Number()) }),
  response: open({}),

  async run({ who: { userId }, params: { roomId, tag, ...place }, body }, ctx) {
    requireOwn(userId, place.userId)
    requireTag(tag)
    await ctx.users.call('changeTag', userId, roomId, tag, JSON.stringify(body))
    return {}
  },
})

export const deleteRoomTag = op({
  id: 'deleteRoomTag',
  method: 'DELETE',
  path: `/_matrix/client/v3${tagsPath}/:tag`,
  also: [`/_matrix/client/r0${tagsPath}/:tag`],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: tagParams,
  response: open({}),

  async run({ who: { userId }, params: { roomId, tag, ...place } }, ctx) {
    requireOwn(userId, place.userId)
    requireTag(tag)
    await ctx.users.call('changeTag', userId, roomId, tag, null)
    return {}
  },
})

function requireOwn(userId: string, whose: string): void {
  if (whose !== userId) throw forbidden('The tags of other users are theirs')
}

/** Spec: client-server-api/#room-tagging */
function requireTag(tag: string): void {
  if (tag === '' || !isShortText(tag)) throw invalidParam('A tag has 1 to 255 bytes')
}
