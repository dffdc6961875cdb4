import { RemoteError } from '#core/error.ts'
import { unreachable } from '#engine/federation/answer.ts'
import type { Fetching } from '#engine/room/fetch/fetching.ts'
import type { Federation, OutgoingRequest, WantedKey } from '#engine/worker/protocol.ts'

/** What the federation worker is left to say for itself that the time is over. */
const graceMs = 200

/** Holds all requests of one undertaking to one deadline, whoever answers them or does not. */
export class Deadline {
  readonly #federation: Federation
  readonly #now: () => number
  readonly #until: number
  /** The one that was given, for requests that end in time. */
  readonly federation: Federation

  constructor({ federation, now, deadlineMs }: Fetching) {
    this.#federation = federation
    this.#now = now
    this.#until = now() + deadlineMs
    const call = (method: string, ...args: unknown[]): Promise<unknown> => {
      if (method === 'request') return this.#request(args[0] as OutgoingRequest)
      if (method === 'keys') return this.#keys(args[0] as WantedKey[], args[1] as number)
      throw new TypeError(`${method} is not asked for here`)
    }
    this.federation = { call: call as Federation['call'] }
  }

  get leftMs(): number {
    return Math.max(0, this.#until - this.#now())
  }

  get over(): boolean {
    return this.leftMs === 0
  }

  async #request(request: OutgoingRequest) {
    const { destination } = request
    const ms = Math.min(request.deadlineMs, this.leftMs)
    const answer =
      ms > 0 && (await within(this.#federation.call('request', { ...request, deadlineMs: ms }), ms))
    if (answer) return answer
    throw new RemoteError(destination, 0, unreachable, `${destination} did not answer in time`)
  }

  /** Keys that are not there in time are keys that cannot be had. */
  async #keys(wanted: WantedKey[], deadlineMs: number) {
    const ms = Math.min(deadlineMs, this.leftMs)
    return (ms > 0 && (await within(this.#federation.call('keys', wanted, ms), ms))) || []
  }
}

/** The outcome of a promise, or undefined when the time is over. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const { promise: over, resolve } = Promise.withResolvers<undefined>()
  const timer = setTimeout(() => resolve(undefined), ms + graceMs)
  try {
    return await Promise.race([promise, over])
  } finally {
    clearTimeout(timer)
  }
}
