import { Type as t } from '@sinclair/typebox'
import { escape, page } from '#api/pages/html/page.ts'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import type { JsonObject } from '#core/json.ts'
import type { Stage } from '#engine/user/uia/flows.ts'
import type { Context } from '#src/context.ts'

/**
 * A page for clients that do not know a stage themselves.
 *
 * Spec: client-server-api/#fallback
 */
const path = '/_matrix/client/v3/auth/:authType/fallback/web'
const also = ['/_matrix/client/r0/auth/:authType/fallback/web'] as const
const params = open({ authType: t.String() })
const query = open({ session: t.String() })

/** Stages that a page can complete: all of what they need stands in it. */
const forms: { readonly [S in Stage]?: (ctx: Context) => string } = {
  'm.login.dummy': () => '<p>Press the button to go on.</p>',
  'm.login.registration_token': () =>
    '<p>Registering here needs a token, which the people who run this server give out.</p><p><input name="token" required maxlength="64" autocomplete="off"></p>',
  'm.login.terms': ({ config }) =>
    `<p>To go on, agree to:</p><ul>${config.registration.policies
      .map(
        ({ name, url, version }) =>
          `<li><a rel="noreferrer" target="_blank" href="${escape(url)}">${escape(name)}</a> (${escape(version)})</li>`,
      )
      .join('')}</ul>`,
}

const script = `
document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault()
  const fields = Object.fromEntries(new FormData(event.target))
  const answer = await fetch(location.href, { method: 'POST', body: JSON.stringify(fields) })
  const { error } = await answer.json()
  document.querySelector('#fault').textContent = error || ''
  if (!answer.ok) return
  if (window.onAuthDone) window.onAuthDone()
  else if (window.opener && window.opener.postMessage) window.opener.postMessage('authDone', '*')
})`

function formOf(type: string): (ctx: Context) => string {
  const form = Object.hasOwn(forms, type) ? forms[type as Stage] : undefined
  if (!form) throw notFound('There is no page for this way of authentication')
  return form
}

export const showUiaFallback = op({
  id: 'showUiaFallback',
  method: 'GET',
  path,
  also,
  auth: 'none',
  limit: 'lookup',
  params,
  query,

  run({ params: { authType } }, ctx) {
    const body = formOf(authType)(ctx)
    return page({
      title: ctx.serverName,
      body: `<form>${body}<p id="fault" role="alert"></p><button>Go on</button></form>`,
      script,
    })
  },
})

export const completeUiaFallback = op({
  id: 'completeUiaFallback',
  method: 'POST',
  path,
  also,
  auth: 'none',
  // Each call may try a token.
  limit: 'login',
  params,
  query,
  body: Content,

  async run({ params: { authType }, query: { session }, body }, ctx) {
    formOf(authType)
    const isKnown = await ctx.uia.completeAside(session, authType as Stage, body as JsonObject)
    if (!isKnown) throw notFound('The session is over')
    return {}
  },
})
