import { Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { profilesOf } from '#api/client-server/room/member-content.ts'
import { newVersion } from '#api/client-server/room/new-version.ts'
import { maySendState } from '#api/client-server/room/power.ts'
import { accessOf } from '#api/client-server/room/reading.ts'
import { takeSettingsAlong } from '#api/client-server/room/settings.ts'
import { op } from '#api/http/op.ts'
import { forbidden, invalidParam, MatrixError } from '#core/error.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isUserId } from '#core/ids.ts'
import { type JsonObject, numberOf } from '#core/json.ts'
import { RoomId, open } from '#core/schema.ts'
import { notInRoom } from '#engine/read/room.ts'
import { readUpgradable } from '#engine/read/upgradable.ts'
import { planUpgrade } from '#engine/room/local/plan-upgrade.ts'
import type { LocalEvent } from '#engine/worker/protocol.ts'
import * as networkRooms from '#store/user/network-rooms.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import * as roomAliases from '#store/user/room-aliases.ts'
import type { Context } from '#src/context.ts'

export const upgradeRoom = op({
  id: 'upgradeRoom',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/upgrade',
  also: ['/_matrix/client/r0/rooms/:roomId/upgrade'],
  auth: 'user',
  limit: 'join',
  params: open({ roomId: RoomId }),
  body: open({
    new_version: t.String(),
    additional_creators: t.Optional(t.Array(t.String(), { maxItems: 1000 })),
  }),
  response: open({ replacement_room: RoomId }),

  async run({ who, params: { roomId }, body }, ctx) {
    const { userId } = who
    const version = newVersion(ctx, body.new_version)
    const additionalCreators = version.privilegedCreators ? (body.additional_creators ?? []) : []
    for (const user of additionalCreators)
      if (!isUserId(user)) throw invalidParam(`${user} is not a user ID`)
    const access = await accessOf(ctx, who, roomId)
    if (access?.standing?.membership !== 'join') throw notInRoom(userId, roomId)
    if (!(await maySendState(ctx, access, userId, 'm.room.tombstone')))
      throw forbidden('Your power in the room is too low to replace it')
    const { rooms } = await ctx.positions.settled()
    const { room } = access
    const { state, bans } = await readUpgradable(ctx.sql, room, rooms[room.shard]!)
    const plan = planUpgrade(
      {
        userId,
        version,
        additionalCreators,
        profile: (await profilesOf(ctx, [userId])).get(userId) ?? {},
        old: { roomId, version: room.version, state, bans },
      },
      { serverName: ctx.serverName, key: ctx.signingKey },
      ctx.clock(),
      crypto.getRandomValues(new Uint8Array(18)),
    )
    landed(ctx, await ctx.rooms.call('create', plan.roomId, plan.create))
    await sendAll(ctx, plan.roomId, plan.rest)
    await roomAliases.move(ctx.sql, roomId, plan.roomId)
    await publishedRooms.move(ctx.sql, roomId, plan.roomId)
    await networkRooms.move(ctx.sql, roomId, plan.roomId)
    await close(ctx, userId, roomId, plan.roomId, state)
    await takeSettingsAlong(ctx, userId, plan.roomId, { isOwnWork: true })
    return { replacement_room: plan.roomId }
  },
})

/** One after the other: what is last is to count. */
async function sendAll(ctx: Context, roomId: string, events: readonly LocalEvent[]): Promise<void> {
  for (const event of events) landed(ctx, await ctx.rooms.call('send', roomId, event))
}

/** Says where the conversation goes on, and lets nobody talk here any more. */
async function close(
  ctx: Context,
  sender: string,
  roomId: string,
  replacement: string,
  state: readonly RoomEvent[],
): Promise<void> {
  const send = (type: string, content: JsonObject) =>
    sendAll(ctx, roomId, [{ sender, type, stateKey: '', content: JSON.stringify(content) }])
  await send('m.room.tombstone', {
    body: 'This room has been replaced',
    replacement_room: replacement,
  })
  const find = (type: string) => state.find((event) => event.type === type && event.stateKey === '')
  const levels = find('m.room.power_levels')?.content
  const closing: [string, JsonObject][] = []
  if (find('m.room.canonical_alias')) closing.push(['m.room.canonical_alias', {}])
  if (levels) closing.push(['m.room.power_levels', restricted(levels)])
  for (const [type, content] of closing)
    try {
      await send(type, content)
    } catch (error) {
      // The spec asks for it where it is possible: not everybody who may replace a room may do this.
      if (!(error instanceof MatrixError)) throw error
      ctx.log.info({ err: error, room: roomId }, 'a room that was replaced could not be closed')
    }
}

/** Spec: client-server-api/#server-behaviour-18, the recommended levels. */
function restricted(levels: JsonObject): JsonObject {
  const least = Math.max(50, (numberOf(levels['users_default']) ?? 0) + 1)
  const raised = (name: string) => Math.max(least, numberOf(levels[name]) ?? 0)
  return { ...levels, events_default: raised('events_default'), invite: raised('invite') }
}
