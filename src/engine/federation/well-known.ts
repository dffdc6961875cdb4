import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { parseJson } from '#core/canonical-json.ts'
import { isServerName, parseServerName } from '#core/ids.ts'
import { isObject } from '#core/json.ts'
import type { Dialer, HttpAnswer } from '#engine/federation/dialer.ts'
import type { Target } from '#engine/federation/discovery.ts'
import { unlessAborted } from '#engine/federation/waiting.ts'

export type WellKnownOptions = {
  dialer: Dialer
  clock: () => number
  /** 443, but for tests. */
  port?: number
  /** How long one look-up may take. */
  deadlineMs?: number
}

const minute = 60_000
const hour = 60 * minute
const defaultKeepMs = 24 * hour
const longestKeepMs = 48 * hour
/** Not spec: a file that forbids caching would cost a request each time. */
const shortestKeepMs = 5 * minute
const longestErrorMs = hour
const maxRedirects = 5
const maxBytes = 50 * 1024
const uri = '/.well-known/matrix/server'

type Known = {
  delegated: string | undefined
  /** When to ask again. */
  askAt: number
  /** Until when `delegated` stands if asking again fails. */
  goodUntil: number
  failures: number
}

/**
 * Step 3 of discovery: asks a host which server stands for it. Answers and failures are kept, and all
 * who want the same one share one request.
 */
export class WellKnown {
  readonly #options: WellKnownOptions
  readonly #known = new LRUCache<string, Known>(atMost(20_000))
  readonly #asking = new Map<string, Promise<string | undefined>>()

  constructor(options: WellKnownOptions) {
    this.#options = options
  }

  /** The delegated server name, or undefined if there is none. */
  async lookUp(host: string, signal: AbortSignal): Promise<string | undefined> {
    const known = this.#known.get(host)
    if (known && known.askAt > this.#options.clock()) return known.delegated
    let asking = this.#asking.get(host)
    if (!asking) {
      // Its deadline is its own: the first who waits may give up before the others.
      asking = this.#ask(host, known).finally(() => this.#asking.delete(host))
      this.#asking.set(host, asking)
    }
    return unlessAborted(asking, signal)
  }

  async #ask(host: string, before: Known | undefined): Promise<string | undefined> {
    const { clock, deadlineMs = 10_000 } = this.#options
    const found = await this.#fetch(host, AbortSignal.timeout(deadlineMs)).catch(() => undefined)
    const now = clock()
    if (found) {
      const askAt = now + keepFor(found.headers, now)
      this.#known.set(host, {
        delegated: found.delegated,
        askAt,
        goodUntil: now + longestKeepMs,
        failures: 0,
      })
      return found.delegated
    }
    const failures = (before?.failures ?? 0) + 1
    const stands = before && before.goodUntil > now ? before.delegated : undefined
    this.#known.set(host, {
      delegated: stands,
      askAt: now + Math.min(longestErrorMs, minute * 2 ** (failures - 1)),
      goodUntil: before?.goodUntil ?? 0,
      failures,
    })
    return stands
  }

  async #fetch(
    host: string,
    signal: AbortSignal,
  ): Promise<{ delegated: string; headers: Headers } | undefined> {
    const { dialer, port = 443 } = this.#options
    let target: Target = {
      host,
      port,
      hostHeader: host,
      certificateName: host,
      trusted: false,
    }
    let path = uri
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const request = { method: 'GET', uri: path, headers: { accept: 'application/json' } }
      const answer = await dialer.send(target, request, maxBytes, signal)
      const location = redirectOf(answer)
      if (location === undefined) return read(answer)
      const url = new URL(location, `https://${target.hostHeader}${path}`)
      // A redirect to another scheme or to a name with a user in it leads nowhere good.
      if (url.protocol !== 'https:' || url.username !== '') return undefined
      const to = parseServerName(url.host)
      if (!to) return undefined
      const bare = to.host.replace(/^\[|\]$/g, '')
      target = {
        host: bare,
        port: to.port ?? port,
        hostHeader: url.host,
        certificateName: bare,
        trusted: false,
      }
      path = url.pathname + url.search
    }
    return undefined
  }
}

const redirectOf = ({ status, headers }: HttpAnswer): string | undefined =>
  [301, 302, 303, 307, 308].includes(status) ? (headers.get('location') ?? undefined) : undefined

function read({ status, headers, body }: HttpAnswer) {
  if (status !== 200) return undefined
  const json = parseJson(body)
  const delegated = isObject(json) ? json['m.server'] : undefined
  return typeof delegated === 'string' && isServerName(delegated)
    ? { delegated, headers }
    : undefined
}

function keepFor(headers: Headers, now: number): number {
  const control = headers.get('cache-control') ?? ''
  const maxAge = /(?:^|[\s,])max-age\s*=\s*"?(\d{1,10})/i.exec(control)?.[1]
  const expires = headers.get('expires')
  let keep = defaultKeepMs
  if (/(?:^|[\s,])no-(?:store|cache)(?:$|[\s,])/i.test(control)) keep = 0
  else if (maxAge !== undefined) keep = Number(maxAge) * 1000
  else if (expires !== null) keep = (Date.parse(expires) || now) - now
  return Math.min(longestKeepMs, Math.max(shortestKeepMs, keep))
}
