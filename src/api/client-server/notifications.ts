import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import { readHistory } from '#engine/push/history.ts'

const maxLimit = 100
const defaultLimit = 20

export const getNotifications = op({
  id: 'getNotifications',
  method: 'GET',
  path: '/_matrix/client/v3/notifications',
  also: ['/_matrix/client/r0/notifications'],
  auth: 'user',
  limit: 'lookup',
  query: open({
    from: t.Optional(t.String()),
    limit: t.Optional(t.Integer()),
    only: t.Optional(t.String()),
  }),
  response: open({ notifications: t.Array(Content), next_token: t.Optional(t.String()) }),

  async run({ who: { userId }, query: { from, limit = defaultLimit, only } }, ctx) {
    if (limit < 1) throw invalidParam('`limit` is at least 1')
    const place = from === undefined ? undefined : readToken(from)
    const { notifications, next } = await readHistory(ctx.sql, {
      userId,
      view: await ctx.positions.view(userId),
      from: place,
      limit: Math.min(limit, maxLimit),
      onlyHighlights: only === 'highlight',
    })
    return {
      notifications,
      ...(next !== undefined && { next_token: `${next.ts}_${next.nid}` }),
    }
  },
})

function readToken(token: string): { ts: number; nid: number } {
  const [, ts, nid] = /^(-?\d{1,16})_(\d{1,16})$/.exec(token) ?? []
  const place = { ts: Number(ts), nid: Number(nid) }
  if (!Number.isSafeInteger(place.ts) || !Number.isSafeInteger(place.nid))
    throw invalidParam('`from` is no token of this list')
  return place
}
