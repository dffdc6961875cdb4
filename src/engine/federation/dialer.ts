import { isIP } from 'node:net'
import { rootCertificates } from 'node:tls'
import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { type AddressPolicy, firstReachable } from '#engine/federation/addresses.ts'
import type { Target } from '#engine/federation/discovery.ts'
import type { Dns } from '#engine/federation/dns.ts'
import { unlessAborted } from '#engine/federation/waiting.ts'

export type DialerOptions = {
  dns: Dns
  policy: AddressPolicy
  /** PEM texts of authorities that are trusted beside those of the system. */
  extraAuthorities: readonly string[]
}

export type HttpRequest = {
  method: string
  /** Path and query. */
  uri: string
  headers: Readonly<Record<string, string>>
  body?: string | undefined
}

export type HttpAnswer = { status: number; headers: Headers; body: string }

/** Takes an answer in; the signal is that of the request. */
export type AnswerReader<T> = (response: Response, signal: AbortSignal) => Promise<T>

/** The answer is longer than was allowed; it was not read to its end. */
export class TooLargeError extends Error {}

/** No connection, or none that may be made: nothing was sent. */
export class DialError extends Error {}

/** An address is looked up again after this time, and at once when a request to it failed. */
const keepAddressMs = 60_000

/**
 * Makes one request to a target: at an address that may be dialled, over HTTPS with the right
 * certificate unless the target says otherwise.
 */
export class Dialer {
  readonly #options: DialerOptions
  readonly #authorities: readonly string[] | undefined
  readonly #addresses = new LRUCache<string, string>({ ...atMost(20_000), ttl: keepAddressMs })

  constructor(options: DialerOptions) {
    this.#options = options
    if (options.extraAuthorities.length > 0)
      this.#authorities = [...rootCertificates, ...options.extraAuthorities]
  }

  /** The answer with its body as text. */
  send(
    target: Target,
    request: HttpRequest,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<HttpAnswer> {
    return this.exchange(target, request, signal, (response) => readAnswer(response, maxBytes))
  }

  /** The answer as `read` makes something of it. Redirects are answers. */
  async exchange<T>(
    target: Target,
    request: HttpRequest,
    signal: AbortSignal,
    read: AnswerReader<T>,
  ): Promise<T> {
    const address = await this.#addressOf(target, signal)
    const host = address.includes(':') ? `[${address}]` : address
    const scheme = target.plain ? 'http' : 'https'
    try {
      const response = await fetch(`${scheme}://${host}:${target.port}${request.uri}`, {
        method: request.method,
        headers: { ...request.headers, host: target.hostHeader },
        ...(request.body !== undefined && { body: request.body }),
        redirect: 'manual',
        signal,
        ...(!target.plain && {
          tls: {
            ...(this.#authorities && { ca: [...this.#authorities] }),
            // The address of the URL is checked unless a name is given.
            ...(target.certificateName !== address && { serverName: target.certificateName }),
          },
        }),
      })
      return await read(response, signal)
    } catch (error) {
      this.#addresses.delete(`${target.host}:${target.port}`)
      throw error
    }
  }

  async #addressOf({ host, port, trusted }: Target, signal: AbortSignal): Promise<string> {
    const key = `${host}:${port}`
    const known = this.#addresses.get(key)
    if (known !== undefined) return known
    const { dns, policy } = this.#options
    const found = isIP(host) ? [host] : await unlessAborted(dns.addresses(host), signal)
    const permitted = trusted ? found : found.filter((address) => policy.permits(address))
    if (permitted.length === 0)
      throw new DialError(
        found.length === 0 ? `${host} has no address` : `${host} is at an address that is blocked`,
      )
    const address = await firstReachable(permitted.slice(0, 8), port, signal)
    if (address === undefined) throw new DialError(`No address of ${host} takes a connection`)
    // Static destinations skip the policy, so what they found is not for others.
    if (!trusted) this.#addresses.set(key, address)
    return address
  }
}

/** The whole of an answer, if it is no longer than that. */
export async function readAnswer(response: Response, maxBytes: number): Promise<HttpAnswer> {
  const body = await readBounded(response, maxBytes)
  return { status: response.status, headers: response.headers, body: body.toString('utf8') }
}

/** The bytes of an answer, if they are no more than that. */
export async function readBounded(response: Response, maxBytes: number): Promise<Buffer> {
  const tooLarge = () => new TooLargeError(`The answer is longer than ${maxBytes} bytes`)
  if (Number(response.headers.get('content-length') ?? 0) > maxBytes) {
    await response.body?.cancel()
    throw tooLarge()
  }
  if (!response.body) return Buffer.alloc(0)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body) {
    size += chunk.length
    // Leaving the loop cancels the stream.
    if (size > maxBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
