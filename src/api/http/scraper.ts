import { timingSafeEqual } from 'node:crypto'
import ipaddr from 'ipaddr.js'
import { forbidden, missingToken, unknownToken } from '#core/error.ts'
import { tokenOf } from '#api/http/access-token.ts'
import type { Incoming } from '#api/http/incoming.ts'
import type { Context } from '#src/context.ts'

/** Headers of requests that came through a proxy, or from a page in somebody's browser. */
const notDirect = ['x-forwarded-for', 'forwarded', 'origin']

/**
 * Lets in what reads measurements. Without a token only this machine itself is let in, and nothing that
 * may have come from elsewhere.
 */
export function requireScraper({ config }: Pick<Context, 'config'>, request: Incoming): null {
  const { token } = config.metrics
  if (token === undefined) {
    const isDirect = !notDirect.some((name) => request.headers.has(name))
    if (isDirect && ipaddr.process(request.address).range() === 'loopback') return null
    throw forbidden('Measurements are for this machine alone: [metrics] has no token')
  }
  const given = tokenOf(request)
  if (given === undefined) throw missingToken()
  if (!isSame(given, token)) throw unknownToken()
  return null
}

/** In a time that says nothing of where two texts differ. */
const isSame = (a: string, b: string): boolean =>
  timingSafeEqual(Bun.SHA256.hash(a) as Uint8Array, Bun.SHA256.hash(b) as Uint8Array)
