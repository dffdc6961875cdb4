import { Type as t } from '@sinclair/typebox'
import { limitIn } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { open } from '#core/schema.ts'
import * as findUsers from '#store/user/find-users.ts'

const maxFound = 50
const maxWords = 10

export const searchUserDirectory = op({
  id: 'searchUserDirectory',
  method: 'POST',
  path: '/_matrix/client/v3/user_directory/search',
  also: ['/_matrix/client/r0/user_directory/search'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'lookup',
  body: open({
    search_term: t.String({ maxLength: 500 }),
    limit: t.Optional(t.Integer({ minimum: 0 })),
  }),

  async run({ who: { userId }, body }, ctx) {
    const limit = limitIn(body.limit, 10, maxFound)
    if (body.search_term.includes('\0')) throw invalidParam("'search_term' holds a NUL")
    const term = body.search_term.toLowerCase().trim().replace(/^@/, '')
    const words = term
      .split(/\s+/)
      .filter((word) => word !== '')
      .slice(0, maxWords)
    if (words.length === 0) return { results: [], limited: false }
    const rows = await findUsers.search(ctx.sql, {
      asker: userId,
      words,
      limit: limit + 1,
      allAccounts: ctx.config.user_directory.all_accounts,
    })
    return {
      results: rows.slice(0, limit).map(({ user_id, name, avatar }) => ({
        user_id,
        ...(name && { display_name: name }),
        ...(avatar?.startsWith('mxc://') && { avatar_url: avatar }),
      })),
      limited: rows.length > limit,
    }
  },
})
