import { readRules } from '#api/client-server/push/rules.ts'
import { predecessorOf } from '#core/content/m.room.create.ts'
import { replacementRoomOf } from '#core/content/m.room.tombstone.ts'
import { MatrixError } from '#core/error.ts'
import { isObject, type Json } from '#core/json.ts'
import { rulesOfReplacement } from '#core/push/replaced-room.ts'
import { shardOf } from '#core/shard.ts'
import { findAccess, findRoom } from '#engine/read/room.ts'
import { readKey, readKeys } from '#engine/read/state-at.ts'
import * as accountData from '#store/user/account-data.ts'
import type { Context } from '#src/context.ts'

/**
 * Gives a room that a user has just joined their settings of the room that it replaces: push rules and
 * tags, where it has none yet. That it replaces the other, the other has to say too, unless the user has
 * made it: anybody may claim to be what somebody cares for.
 *
 * Spec: client-server-api/#server-behaviour-18
 */
export async function takeSettingsAlong(
  ctx: Context,
  userId: string,
  roomId: string,
  { isOwnWork = false } = {},
): Promise<void> {
  const { rooms } = await ctx.positions.settled()
  const access = await findAccess(ctx.sql, roomId, userId)
  if (!access) return
  const key = { type: 'm.room.create', stateKey: '' }
  const [create] = await readKeys(ctx.sql, access, rooms[access.room.shard]!, [key])
  const from = create && predecessorOf(create.event.content)
  if (from === undefined || from === roomId) return
  if (!isOwnWork && (await replacementOf(ctx, from)) !== roomId) return
  const [rules, before, now] = await Promise.all([
    readRules(ctx, userId),
    tagsOf(ctx, userId, from),
    tagsOf(ctx, userId, roomId),
  ])
  const changes = rulesOfReplacement(rules, from, roomId).map((edit) =>
    ctx.users.call('editPushRule', userId, edit),
  )
  if (now.length === 0)
    for (const [tag, data] of before)
      changes.push(ctx.users.call('changeTag', userId, roomId, tag, JSON.stringify(data)))
  for (const change of await Promise.allSettled(changes)) {
    if (change.status === 'fulfilled') continue
    // Too many rules, for instance: the room is joined without them.
    if (!(change.reason instanceof MatrixError)) throw change.reason
    ctx.log.info({ err: change.reason, user: userId }, 'a setting of a room was not taken along')
  }
}

/** What a room that we know says of who takes its place. */
async function replacementOf(ctx: Context, roomId: string): Promise<string | undefined> {
  const room = await findRoom(ctx.sql, roomId)
  if (!room) return undefined
  const { rooms } = await ctx.positions.settled()
  const tombstone = await readKey(ctx.sql, { room }, rooms[room.shard]!, 'm.room.tombstone', '')
  return replacementRoomOf(tombstone?.event.content)
}

async function tagsOf({ sql }: Context, userId: string, roomId: string): Promise<[string, Json][]> {
  const text = await accountData.get(sql, shardOf(userId), userId, roomId, 'm.tag')
  const content = text === undefined ? undefined : (JSON.parse(text) as Json)
  const tags = isObject(content) ? content['tags'] : undefined
  return isObject(tags) ? Object.entries(tags).filter(([, data]) => isObject(data)) : []
}
