import type { Appservice } from '#core/appservice.ts'
import {
  type Fault,
  type Link,
  type LinkAnswer,
  LinkError,
  type Question,
  refusal,
} from '#engine/appservice/link.ts'

/** Makes one request; fails if there is no answer in time, or one that is too long. */
export type AskAppservice = (request: {
  method: 'GET' | 'POST' | 'PUT'
  url: string
  token: string
  body?: string
  /** It has not answered lately. */
  doubtful: boolean
  deadlineMs: number
  maxBytes: number
}) => Promise<LinkAnswer>

export type HttpLinkOptions = {
  ask: AskAppservice
  clock: () => number
  /** How long one transaction may take. */
  deadlineMs: number
}

const v1 = '/_matrix/app/v1'
const maxBytes = 1024 * 1024
/** So long it is taken for one that knows the older paths only. */
const legacyMs = 3_600_000

/**
 * The way to an application service that has an address.
 *
 * Spec: application-service-api/#homeserver--application-service-api
 */
export class HttpLink implements Link {
  readonly isUp = true
  readonly #base: string
  readonly #token: string
  readonly #options: HttpLinkOptions
  /** It has answered on the paths of the specification: then what it does not know is not there. */
  #isModern = false
  #legacyUntil = 0
  #doubtful = false

  constructor({ hsToken }: Pick<Appservice, 'hsToken'>, url: string, options: HttpLinkOptions) {
    this.#base = url.replace(/\/+$/, '')
    this.#token = hsToken
    this.#options = options
  }

  async deliver(txnId: string, body: string): Promise<Fault | undefined> {
    const path = `/transactions/${encodeURIComponent(txnId)}`
    const { deadlineMs } = this.#options
    const answer = await this.#request('PUT', v1 + path, path, { body, deadlineMs })
    return isSuccess(answer.status) ? undefined : refusal(`${answer.status}: ${answer.body}`)
  }

  ask({ method, path, query = '', legacyPath, ...rest }: Question): Promise<LinkAnswer> {
    return this.#request(method, v1 + path + query, legacyPath && legacyPath + query, rest)
  }

  stop(): void {}

  /** Spec: application-service-api/#legacy-routes. Not spec: other failures than these say nothing of the path. */
  async #request(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    legacyPath: string | undefined,
    rest: { body?: string; deadlineMs: number },
  ): Promise<LinkAnswer> {
    const { clock } = this.#options
    if (legacyPath === undefined || clock() >= this.#legacyUntil) {
      const answer = await this.#send(method, path, rest)
      if (isSuccess(answer.status)) this.#isModern = true
      const isUnknown = [404, 405, 501].includes(answer.status)
      if (legacyPath === undefined || this.#isModern || !isUnknown) return answer
    }
    const answer = await this.#send(method, legacyPath, rest)
    // The time is not extended: the other paths are tried again.
    if (!isSuccess(answer.status)) this.#legacyUntil = 0
    else if (clock() >= this.#legacyUntil) this.#legacyUntil = clock() + legacyMs
    return answer
  }

  async #send(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    rest: { body?: string; deadlineMs: number },
  ): Promise<LinkAnswer> {
    try {
      const answer = await this.#options.ask({
        method,
        url: this.#base + path,
        token: this.#token,
        doubtful: this.#doubtful,
        maxBytes,
        ...rest,
      })
      this.#doubtful = false
      return answer
    } catch (error) {
      this.#doubtful = true
      const message = error instanceof Error ? error.message : String(error)
      throw new LinkError(message, /timed? ?out|aborted/i.test(message))
    }
  }
}

export const isSuccess = (status: number): boolean => status >= 200 && status < 300
