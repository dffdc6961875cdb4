import { corsHeaders } from '#api/http/cors.ts'
import type { App } from '#api/http/mount.ts'
import { readiness } from '#api/http/readiness.ts'

/** What listeners answer until there is a server behind them: that it is alive, and not yet ready. */
export const starting: App = {
  fetch({ url, method }) {
    const isHealth = new URL(url).pathname === '/health'
    const [status, body] = isHealth ? readiness(['starting']) : [503, refusal]
    const headers = { ...corsHeaders, 'content-type': 'application/json', 'retry-after': '1' }
    return new Response(method === 'HEAD' ? null : JSON.stringify(body), { status, headers })
  },
}

const refusal = { errcode: 'M_UNKNOWN', error: 'The server is starting', retry_after_ms: 1_000 }
