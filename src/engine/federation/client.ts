import { parseJson } from '#core/canonical-json.ts'
import { MatrixError, RemoteError } from '#core/error.ts'
import { isServerName } from '#core/ids.ts'
import type { SigningKey } from '#core/signing.ts'
import { authorizationHeader } from '#core/x-matrix.ts'
import { answerTooLarge, backingOff, unreachable } from '#engine/federation/answer.ts'
import type { Backoff } from '#engine/federation/backoff.ts'
import type { Budget } from '#engine/federation/budget.ts'
import {
  type AnswerReader,
  type Dialer,
  type HttpRequest,
  TooLargeError,
  readAnswer,
} from '#engine/federation/dialer.ts'
import type { Discovery } from '#engine/federation/discovery.ts'
import type { OutgoingAnswer, OutgoingRequest } from '#engine/worker/protocol.ts'

export type ClientOptions = {
  serverName: string
  signingKey: SigningKey
  userAgent: string
  discovery: Discovery
  dialer: Dialer
  budget: Budget
  backoff: Backoff
  clock: () => number
  /** No request may take longer, nor bring more, whatever its caller asks for. */
  longestDeadlineMs?: number
  largestAnswer?: number
}

/** How the answer to a request is taken in, where it is not a text. */
export type Exchange<T> = {
  read: AnswerReader<T>
  /** In whose turn it is made; that of all requests, unless told. */
  budget?: Budget
  /** How long the body may take after the headers; without it, the deadline is for both. */
  readMs?: number
  accept?: string
  /** An answer of 502 or 504 may be the server's own, and says nothing of whether it is up. */
  isOwnFault?: boolean
}

/**
 * Requests to other servers: signed, within the budget, with a deadline over everything (the wait
 * for a turn, discovery, connecting, the answer's last byte) and a cap on the answer.
 */
export class Client {
  readonly #options: ClientOptions

  constructor(options: ClientOptions) {
    this.#options = options
  }

  /** The answer whatever its status. A `RemoteError` of status 0 says that there was none. */
  async request(request: OutgoingRequest): Promise<OutgoingAnswer> {
    const { largestAnswer = 1024 * 1024 * 1024 } = this.#options
    const maxBytes = Math.min(request.maxBytes, largestAnswer)
    return this.exchange(request, {
      read: async (response) => {
        const { status, body } = await readAnswer(response, maxBytes)
        return { status, body }
      },
    })
  }

  /** The same, where `read` takes the answer in; the cap on it is then its own. */
  async exchange<T>(request: OutgoingRequest, exchange: Exchange<T>): Promise<T> {
    const { destination } = request
    const { serverName, backoff, longestDeadlineMs = 600_000 } = this.#options
    const { budget = this.#options.budget, readMs } = exchange
    if (!isServerName(destination) || destination === serverName)
      throw failed(destination, unreachable, `'${destination}' is no other server`)
    const retryAt = request.ignoreBackoff ? undefined : backoff.retryAt(destination)
    if (retryAt !== undefined)
      throw failed(destination, backingOff, `${destination} failed lately and is left alone`)

    const uri = normalUri(request.uri)
    const { method, body } = request
    const headers = this.#headersOf(request, uri, exchange.accept)
    const http = { method, uri, headers, body }
    const ended = new AbortController()
    const endAfter = (ms: number) =>
      setTimeout(() => ended.abort(new Error(`${destination} did not answer within ${ms} ms`)), ms)
    let timer = endAfter(Math.min(request.deadlineMs, longestDeadlineMs))
    const read: AnswerReader<T> = (response, signal) => {
      if (readMs !== undefined) {
        clearTimeout(timer)
        timer = endAfter(readMs)
      }
      return exchange.read(response, signal)
    }
    let release: (() => void) | undefined
    try {
      release = await budget.acquire(destination, backoff.doubtful(destination), ended.signal)
      return await this.#attempt(request, http, ended.signal, { ...exchange, read })
    } catch (error) {
      throw error instanceof RemoteError || error instanceof MatrixError
        ? error
        : failed(destination, unreachable, reasonOf(error))
    } finally {
      clearTimeout(timer)
      release?.()
    }
  }

  async #attempt<T>(
    request: OutgoingRequest,
    http: HttpRequest,
    signal: AbortSignal,
    { read, isOwnFault = false }: Exchange<T>,
  ): Promise<T> {
    const { destination } = request
    const { discovery, backoff, clock } = this.#options
    const startedAt = clock()
    try {
      let status = 0
      const value = await this.#send(request, http, signal, (response, ...rest) => {
        status = response.status
        return read(response, ...rest)
      })
      // A proxy answers for a server that is down.
      const isDown = status >= 502 && status !== 505
      if (!isDown) backoff.succeeded(destination)
      else if (!isOwnFault) backoff.failed(destination, startedAt)
      return value
    } catch (error) {
      if (error instanceof TooLargeError)
        throw failed(destination, answerTooLarge, `${destination}: ${error.message}`)
      discovery.forget(destination)
      backoff.failed(destination, startedAt)
      throw error
    }
  }

  async #send<T>(
    request: OutgoingRequest,
    http: HttpRequest,
    signal: AbortSignal,
    read: AnswerReader<T>,
  ): Promise<T> {
    const { dialer, discovery } = this.#options
    const targets = await discovery.find(request.destination, signal)
    let failure: unknown
    for (const target of targets) {
      try {
        return await dialer.exchange(target, http, signal, read)
      } catch (error) {
        if (signal.aborted) throw signal.reason as Error
        if (error instanceof TooLargeError) throw error
        failure = error
      }
    }
    throw failure
  }

  #headersOf(
    request: OutgoingRequest,
    uri: string,
    accept = 'application/json',
  ): Record<string, string> {
    const { serverName, signingKey, userAgent } = this.#options
    const headers: Record<string, string> = { accept, 'user-agent': userAgent }
    if (request.body !== undefined) headers['content-type'] = 'application/json'
    if (request.unsigned) return headers
    const content = request.body === undefined ? undefined : parseJson(request.body)
    headers['authorization'] = authorizationHeader(
      {
        method: request.method,
        uri,
        origin: serverName,
        destination: request.destination,
        content,
      },
      signingKey,
    )
    return headers
  }
}

/** The signature must cover the path as it travels, and a URL escapes a few characters by itself. */
function normalUri(uri: string): string {
  const { pathname, search } = new URL(uri, 'https://x')
  return pathname + search
}

const failed = (server: string, errcode: string, message: string) =>
  new RemoteError(server, 0, errcode, message)

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message || error.name : String(error)
