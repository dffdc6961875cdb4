import { AddressPolicy, type AddressRules } from '#engine/federation/addresses.ts'
import { type AnswerReader, Dialer } from '#engine/federation/dialer.ts'
import { type Dns, systemDns } from '#engine/federation/dns.ts'
import { parseWebAddress } from '#engine/federation/web-address.ts'

/** Why nothing could be had from an address; whoever asked is not told. */
export class WebFault extends Error {
  override readonly name = 'WebFault'
}

export type WebOptions = AddressRules & {
  extraAuthorities: readonly string[]
  /** For tests: other names than those of the system. */
  dns?: Dns
}

const maxRedirects = 5

/**
 * Fetches what users name, without ever reaching what only this machine may reach: each address is
 * judged, at each redirect, and the one that was judged is the one that is dialled.
 */
export class Web {
  readonly #dialer: Dialer

  constructor({ dns = systemDns, extraAuthorities, ...rules }: WebOptions) {
    this.#dialer = new Dialer({ dns, policy: new AddressPolicy(rules), extraAuthorities })
  }

  /** What `read` makes of the answer, with the address that it came from in the end. */
  async get<T>(
    address: string,
    accept: string,
    signal: AbortSignal,
    read: AnswerReader<T>,
  ): Promise<{ address: string; value: T }> {
    let url = address
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const place = parseWebAddress(url)
      if (!place) throw new WebFault(`${url.slice(0, 100)} is nothing that may be fetched`)
      const { target, uri } = place
      const headers = { accept, 'accept-language': 'en, *;q=0.5', 'user-agent': userAgent }
      const request = { method: 'GET', uri, headers }
      const step = await this.#dialer.exchange(target, request, signal, async (response, end) => {
        const location = response.headers.get('location')
        if (response.status >= 300 && response.status < 400 && location !== null) {
          await response.body?.cancel()
          return { location }
        }
        if (!response.ok) {
          await response.body?.cancel()
          throw new WebFault(`${url} answered with status ${response.status}`)
        }
        return { value: await read(response, end) }
      })
      if ('value' in step) return { address: url, value: step.value }
      url = URL.parse(step.location, url)?.href ?? ''
    }
    throw new WebFault(`${address} leads from one place to the next`)
  }
}

/** Sites give robots that they know a page with its data in it. */
const userAgent = 'Mozilla/5.0 (compatible; Laneway; link preview bot)'

/** Whether a text is the address of something on the web. */
export const isWebAddress = (text: string): boolean => {
  const url = URL.parse(text)
  return url !== null && (url.protocol === 'http:' || url.protocol === 'https:')
}
