import { Type as t } from '@sinclair/typebox'
import { page } from '#api/pages/html/page.ts'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'
import * as pushers from '#store/user/pushers.ts'
import type { Context } from '#src/context.ts'

// Where letters of what is unread lead those who want no more of them. Programs that read mail follow
// links, so that a person has to press a button; those that offer one themselves (RFC 8058) send what it sends.

const path = '/_laneway/client/letters'
const query = open({ pusher: t.Integer(), token: t.String() })

const gone = () =>
  page({
    status: 404,
    title: 'There are no such letters',
    body: '<p>They were turned off before.</p>',
  })

const find = ({ sql }: Context, { pusher, token }: { pusher: number; token: string }) =>
  token.includes('\0') ? undefined : pushers.byStopToken(sql, pusher, token)

export const showLettersPage = op({
  id: 'showLettersPage',
  method: 'GET',
  path,
  auth: 'none',
  limit: 'lookup',
  query,

  async run({ query: wanted }, ctx) {
    if (!(await find(ctx, wanted))) return gone()
    return page({
      title: 'No more letters?',
      body: `<p>You get letters of what you have not read.</p>
<form method="post"><button>Send me no more of them</button></form>`,
    })
  },
})

export const endLetters = op({
  id: 'endLetters',
  method: 'POST',
  path,
  auth: 'none',
  limit: 'lookup',
  query,

  async run({ query: wanted }, ctx) {
    const found = await find(ctx, wanted)
    if (!found) return gone()
    const { user_id: userId, app_id: appId, pushkey } = found
    await ctx.users.call('removePusher', userId, { appId, pushkey })
    return page({ title: 'Done', body: '<p>You get no more of these letters.</p>' })
  },
})
