import { RemoteError } from '#core/error.ts'
import { AddressPolicy } from '#engine/federation/addresses.ts'
import { unreachable } from '#engine/federation/answer.ts'
import { Budget } from '#engine/federation/budget.ts'
import { Dialer } from '#engine/federation/dialer.ts'
import type { Target } from '#engine/federation/discovery.ts'
import { type Dns, systemDns } from '#engine/federation/dns.ts'
import type { AppserviceRequest } from '#engine/federation/options.ts'
import type { OutgoingAnswer } from '#engine/worker/protocol.ts'

export type AppserviceRequestsOptions = {
  extraAuthorities: readonly string[]
  maxInFlight: number
  dns?: Dns
}

/** Asks application services: wherever the operator says that they are. */
export class AppserviceRequests {
  readonly #dialer: Dialer
  readonly #budget: Budget

  constructor({ dns = systemDns, extraAuthorities, maxInFlight }: AppserviceRequestsOptions) {
    const policy = new AddressPolicy({ blocked: [], allowed: [] })
    this.#dialer = new Dialer({ dns, policy, extraAuthorities })
    this.#budget = new Budget({
      perServer: 8,
      waitingPerServer: 200,
      total: maxInFlight,
      waitingTotal: 2_000,
    })
  }

  get inFlight(): number {
    return this.#budget.inFlight
  }

  /** The answer whatever its status; redirects are answers. A `RemoteError` says that there was none. */
  async ask(request: AppserviceRequest): Promise<OutgoingAnswer> {
    const { method, url, token, body, doubtful, deadlineMs, maxBytes } = request
    const { target, uri } = placeOf(new URL(url))
    const signal = AbortSignal.timeout(deadlineMs)
    const headers = {
      authorization: `Bearer ${token}`,
      'user-agent': 'Laneway',
      ...(body !== undefined && { 'content-type': 'application/json' }),
    }
    let release: (() => void) | undefined
    try {
      release = await this.#budget.acquire(target.hostHeader, doubtful, signal)
      const answer = await this.#dialer.send(
        target,
        { method, uri, headers, body },
        maxBytes,
        signal,
      )
      return { status: answer.status, body: answer.body }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new RemoteError(
        target.hostHeader,
        0,
        unreachable,
        signal.aborted ? `It timed out: ${message}` : message,
      )
    } finally {
      release?.()
    }
  }
}

/** Operators name hosts of their own networks, which need not be names of the internet. */
function placeOf(url: URL): { target: Target; uri: string } {
  const plain = url.protocol === 'http:'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return {
    target: {
      host,
      port: Number(url.port) || (plain ? 80 : 443),
      hostHeader: url.host,
      certificateName: host,
      trusted: true,
      plain,
    },
    uri: url.pathname + url.search,
  }
}
