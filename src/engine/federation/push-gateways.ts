import { RemoteError } from '#core/error.ts'
import { AddressPolicy, type AddressRules } from '#engine/federation/addresses.ts'
import { unreachable } from '#engine/federation/answer.ts'
import { Budget } from '#engine/federation/budget.ts'
import { Dialer, readAnswer } from '#engine/federation/dialer.ts'
import { type Dns, systemDns } from '#engine/federation/dns.ts'
import type { GatewayRequest } from '#engine/federation/options.ts'
import { parseWebAddress } from '#engine/federation/web-address.ts'
import type { OutgoingAnswer } from '#engine/worker/protocol.ts'

export type PushGatewaysOptions = AddressRules & {
  extraAuthorities: readonly string[]
  maxInFlight: number
  dns?: Dns
}

/** Asks push gateways, which users name: only at addresses that may be dialled. */
export class PushGateways {
  readonly #dialer: Dialer
  readonly #budget: Budget

  constructor({ dns = systemDns, extraAuthorities, maxInFlight, ...rules }: PushGatewaysOptions) {
    this.#dialer = new Dialer({ dns, policy: new AddressPolicy(rules), extraAuthorities })
    this.#budget = new Budget({
      perServer: maxInFlight,
      waitingPerServer: 1_000,
      total: maxInFlight,
      waitingTotal: 1_000,
    })
  }

  /** The answer whatever its status; redirects are answers. A `RemoteError` says that there was none. */
  async ask({ url, body, deadlineMs, maxBytes }: GatewayRequest): Promise<OutgoingAnswer> {
    const place = parseWebAddress(url)
    if (!place) throw failed(url, 'It is no address of a push gateway')
    // Plain HTTP is for whoever let it in where pushers are set up.
    const { target, uri } = place
    const signal = AbortSignal.timeout(deadlineMs)
    const headers = { 'content-type': 'application/json', 'user-agent': 'Laneway' }
    const request = { method: 'POST', uri, headers, body }
    let release: (() => void) | undefined
    try {
      release = await this.#budget.acquire(target.hostHeader, false, signal)
      const answer = await this.#dialer.exchange(target, request, signal, (response) =>
        readAnswer(response, maxBytes),
      )
      return { status: answer.status, body: answer.body }
    } catch (error) {
      throw failed(url, error instanceof Error ? error.message : String(error))
    } finally {
      release?.()
    }
  }
}

const failed = (url: string, message: string) => new RemoteError(url, 0, unreachable, message)
