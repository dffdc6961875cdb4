import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { isRoomId } from '#core/ids.ts'
import { UserId, open } from '#core/schema.ts'
import * as findUsers from '#store/user/find-users.ts'

const page = 100

export const getMutualRooms = op({
  id: 'getMutualRooms',
  method: 'GET',
  path: '/_matrix/client/v1/mutual_rooms',
  also: ['/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms'],
  auth: 'user',
  limit: 'lookup',
  query: open({ user_id: UserId, from: t.Optional(t.String()) }),

  async run({ who: { userId }, query: { user_id: other, from } }, ctx) {
    if (other === userId) throw invalidParam('You share all of your rooms with yourself')
    const after = from === undefined ? '' : Buffer.from(from, 'base64url').toString()
    if (from !== undefined && !isRoomId(after))
      throw invalidParam("'from' is not a token of this server")
    const rows = await findUsers.mutualRooms(ctx.sql, userId, other, after, page + 1)
    const joined = rows.slice(0, page).map((row) => row.room_id)
    const more = rows.length > page
    return {
      joined,
      count: rows[0]?.total ?? 0,
      ...(more && { next_batch: Buffer.from(joined.at(-1)!).toString('base64url') }),
    }
  },
})
