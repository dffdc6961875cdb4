import { Type as t } from '@sinclair/typebox'
import { escape, page } from '#api/pages/html/page.ts'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'

// Where the link in a letter leads. Programs that read mail follow links, so that a person has to press
// a button.

const path = '/_laneway/client/email'
const query = open({ sid: t.String(), client_secret: t.String(), token: t.String() })

const gone = () =>
  page({
    status: 400,
    title: 'This link is not good any more',
    body: '<p>It is too old, or was used before. Begin anew where you began.</p>',
  })

export const showEmailPage = op({
  id: 'showEmailPage',
  method: 'GET',
  path,
  auth: 'none',
  limit: 'lookup',
  query,

  async run({ query: { sid, client_secret: secret } }, ctx) {
    const found = await ctx.emails.find(sid, secret)
    if (!found) return gone()
    const wants =
      found.purpose === 'password'
        ? `to set a new password on ${ctx.serverName}`
        : `to use ${found.address} on ${ctx.serverName}`
    return page({
      title: 'Was it you?',
      body: `<p>Somebody wants ${escape(wants)}. If it was you, confirm it; else close this page.</p>
<form method="post"><button>It was me</button></form>`,
    })
  },
})

export const confirmEmail = op({
  id: 'confirmEmail',
  method: 'POST',
  path,
  auth: 'none',
  limit: 'lookup',
  query,

  async run({ query: { sid, client_secret: secret, token } }, ctx) {
    const found = await ctx.emails.submit(sid, secret, token)
    if (!found) return gone()
    const { next_link: next } = found
    const link =
      next === null
        ? ''
        : `<p><a rel="noreferrer" href="${escape(next)}">Go on to ${escape(new URL(next).host)}</a></p>`
    return page({
      title: 'Thank you',
      body: `<p>The address is confirmed. Go on where you began; this page can be closed.</p>${link}`,
    })
  },
})
