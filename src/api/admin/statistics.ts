import { Type as t } from '@sinclair/typebox'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { op } from '#api/http/op.ts'
import { badJson } from '#core/error.ts'
import { open, record } from '#core/schema.ts'
import { largestRooms } from '#engine/read/listed-rooms.ts'
import { joinedRoomsSince, sentInvites } from '#engine/read/user-history.ts'

// What administrators count, and what they may ask of the server's features, in the form that known
// tools speak.

const path = '/_synapse/admin/v1'
const params = open({ userId: t.String() })
const since = open({
  from_ts: t.Optional(t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
})

export const countSentInvites = op({
  id: 'countSentInvites',
  method: 'GET',
  path: `${path}/users/:userId/sent_invite_count`,
  auth: 'admin',
  params,
  query: since,
  response: open({ invite_count: t.Integer() }),

  async run({ params: { userId }, query }, ctx) {
    await localUser(ctx, userId)
    return { invite_count: await sentInvites(ctx.sql, userId, query.from_ts ?? 0) }
  },
})

export const countJoinedRooms = op({
  id: 'countJoinedRooms',
  method: 'GET',
  path: `${path}/users/:userId/cumulative_joined_room_count`,
  auth: 'admin',
  params,
  query: since,
  response: open({ cumulative_joined_room_count: t.Integer() }),

  async run({ params: { userId }, query }, ctx) {
    await localUser(ctx, userId)
    const count = await joinedRoomsSince(ctx.sql, userId, query.from_ts ?? 0)
    return { cumulative_joined_room_count: count }
  },
})

export const listLargestRooms = op({
  id: 'listLargestRooms',
  method: 'GET',
  path: `${path}/statistics/database/rooms`,
  auth: 'admin',
  response: open({
    rooms: t.Array(open({ room_id: t.String(), estimated_size: t.Integer() })),
  }),

  async run(_, ctx) {
    const rooms = await largestRooms(ctx.sql, 10)
    return { rooms: rooms.map((row) => ({ room_id: row.room_id, estimated_size: row.bytes })) }
  },
})

/** What tools offer to turn on or off for a user; here everybody has it or nobody. */
const features: ReadonlyMap<string, boolean> = new Map([
  ['msc3575', true],
  ['msc3881', false],
  ['msc4222', true],
])

export const getFeaturesOf = op({
  id: 'getFeaturesOf',
  method: 'GET',
  path: `${path}/experimental_features/:userId`,
  auth: 'admin',
  params,
  response: open({ features: record(t.Boolean()) }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    return { features: Object.fromEntries(features) }
  },
})

/** Tools send back what they do not change, so that alone is taken. */
export const setFeaturesOf = op({
  id: 'setFeaturesOf',
  method: 'PUT',
  path: `${path}/experimental_features/:userId`,
  auth: 'admin',
  params,
  body: open({ features: record(t.Boolean()) }),

  async run({ params: { userId }, body }, ctx) {
    await localUser(ctx, userId)
    for (const [name, wanted] of Object.entries(body.features)) {
      const there = features.get(name)
      if (there === undefined) throw badJson(`'${name}' is no feature that is known here`)
      if (there !== wanted)
        throw badJson(`'${name}' is ${there ? 'on' : 'off'} for everybody, not for one user`)
    }
    return {}
  },
})
