import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { notJson, unauthorized } from '#core/error.ts'
import { parseJson } from '#core/canonical-json.ts'
import type { Json } from '#core/json.ts'
import { signsRequests } from '#core/server-keys.ts'
import { parseAuthorization, verifyRequest } from '#core/x-matrix.ts'
import type { ServerCheck } from '#api/http/authenticate.ts'
import type { Incoming } from '#api/http/incoming.ts'
import { KeyWaits } from '#api/http/key-waits.ts'
import { serverKeyOf } from '#engine/federation/keyring.ts'
import type { KnownKey } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'

/** How long a request may wait for the key of its origin; all that wait for it share one request. */
const keyDeadlineMs = 10_000
/** Told at most this often of each server. */
const heardEveryMs = 1_000

/**
 * How other servers prove themselves: a signature over the request. `heardFrom` is told of servers
 * that did, which can be reached again if they could not.
 *
 * Spec: server-server-api/#request-authentication
 */
export function serverCheck(
  heardFrom: (server: string) => void,
  waits = new KeyWaits(),
): ServerCheck {
  const keys = new LRUCache<string, KnownKey>({ ...atMost(10_000), ttl: 3_600_000 })
  const heard = new LRUCache<string, true>({ ...atMost(20_000), ttl: heardEveryMs })

  return async (ctx, request) => {
    const header = request.headers.get('authorization')
    if (header === null) throw unauthorized('The request is not signed by a server')
    const claim = parseAuthorization(header)
    if (!claim) throw unauthorized('The X-Matrix authorization is malformed')
    const { origin, destination, keyId } = claim
    // Old servers leave it out.
    if (destination !== undefined && destination !== ctx.serverName)
      throw unauthorized(`This server is ${ctx.serverName}, not the destination of the request`)
    if (origin === ctx.serverName) throw unauthorized('This server does not ask itself')

    const content = contentOf(request)
    const cached = keys.get(`${origin} ${keyId}`)
    const now = ctx.clock()
    const isGood = cached !== undefined && signsRequests(serverKeyOf(cached), now)
    const key = isGood ? cached : await waits.run(() => askForKey(ctx, origin, keyId))
    if (!signsRequests(serverKeyOf(key), ctx.clock()))
      throw unauthorized(`The key ${keyId} of ${origin} has expired`)

    const { method, uri } = request
    // Servers that do not name the destination in the header have signed it all the same.
    const text = content === undefined ? undefined : request.text
    const signed = { method, uri, origin, destination: ctx.serverName, content, text }
    if (!verifyRequest(signed, claim, key.key))
      throw unauthorized(`The request is not signed with the key ${keyId} of ${origin}`)
    keys.set(`${origin} ${keyId}`, key)
    if (!heard.has(origin)) {
      heard.set(origin, true)
      heardFrom(origin)
    }
    return { origin }
  }
}

async function askForKey(ctx: Context, server: string, keyId: string): Promise<KnownKey> {
  const wanted = { server, keyIds: [keyId], minimumValidUntilTs: ctx.clock() }
  const [key] = await ctx.federation.call('keys', [wanted], keyDeadlineMs)
  if (!key) throw unauthorized(`The key ${keyId} of ${server} cannot be had`)
  return key
}

/** The body as it was signed: numbers keep the digits that came, for handlers too. */
function contentOf(request: Incoming): Json | undefined {
  if (request.text === undefined || request.text === '') return undefined
  const content = parseJson(request.text)
  if (content === undefined) throw notJson()
  request.json = content
  return content
}
