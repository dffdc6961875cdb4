import type { Json, JsonObject } from '#core/json.ts'
import type { Origin, Request } from './origin.ts'
import type { Sent } from './protocol.ts'
import type { MadeTraffic, Step } from './traffic.ts'

/** How long a server that does not answer is left alone. */
const pauseMs = 100

/** What is being sent, and what has become of it. */
export class Sending {
  readonly #began = performance.now()
  readonly #sent: Omit<Sent, 'seconds' | 'halted'> = {
    transactions: 0,
    answered: 0,
    refused: {},
    limited: 0,
    failed: 0,
    latencies: [],
  }
  readonly #halt = new AbortController()
  /** Comes when it is halted. */
  readonly halted = new Promise<void>((resolve) => {
    this.#halt.signal.addEventListener('abort', () => resolve(), { once: true })
  })

  get isHalted(): boolean {
    return this.#halt.signal.aborted
  }

  /** Ends it, when what is in flight is answered. */
  halt(): void {
    this.#halt.abort()
  }

  outcome(): Sent {
    return {
      ...this.#sent,
      seconds: (performance.now() - this.#began) / 1000,
      latencies: this.#sent.latencies.sort((a, b) => a - b),
      halted: this.isHalted,
    }
  }

  /** Sends one transaction until it is answered with 200; false if it was halted before. */
  async deliver(request: Request): Promise<boolean> {
    while (!this.isHalted) {
      const began = performance.now()
      const answer = await put(request)
      if (answer?.status === 200) {
        this.#count(request, answer.body, performance.now() - began)
        return true
      }
      if (answer?.status === 429) this.#sent.limited++
      else this.#sent.failed++
      const wanted = answer?.body['retry_after_ms']
      await this.sleep(typeof wanted === 'number' ? wanted : pauseMs)
    }
    return false
  }

  /** Waits for an instant of this sending, in ms from its beginning. */
  async until(ms: number): Promise<void> {
    const early = ms - (performance.now() - this.#began)
    if (early > 1) await this.sleep(early)
  }

  async sleep(ms: number): Promise<void> {
    if (!this.isHalted) await Promise.race([Bun.sleep(ms), this.halted])
  }

  #count(request: Request, body: JsonObject, ms: number): void {
    const { refused, latencies } = this.#sent
    this.#sent.transactions++
    this.#sent.answered += request.pdus
    latencies.push(ms)
    for (const result of Object.values((body['pdus'] ?? {}) as JsonObject)) {
      const error = (result as { error?: Json }).error
      if (typeof error === 'string') refused[error] = (refused[error] ?? 0) + 1
    }
  }
}

async function put({
  url,
  init,
}: Request): Promise<{ status: number; body: JsonObject } | undefined> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(120_000) })
    return { status: response.status, body: (await response.json()) as JsonObject }
  } catch {
    // It is away, or was killed at it: the same again.
    return undefined
  }
}

/**
 * Sends all of some traffic: one transaction of each origin at a time, at `perSecond` PDUs of all
 * together, or each as soon as the one before is answered.
 */
export async function sendTraffic(
  { steps }: MadeTraffic,
  sending: Sending,
  perSecond: number | undefined,
): Promise<void> {
  const lists = [...steps]
  // One promise a transaction: others wait for it.
  const gates = new Map<Step, PromiseWithResolvers<void>>()
  for (const step of lists.flatMap(([, each]) => each)) gates.set(step, Promise.withResolvers())
  const one = async ([, own]: [Origin, Step[]], place: number) => {
    for (const [index, step] of own.entries()) {
      if (perSecond !== undefined)
        await sending.until(((index * lists.length + place) * step.request.pdus * 1000) / perSecond)
      const open = step.after.filter(({ answered }) => !answered)
      if (open.length > 0)
        await Promise.race([
          sending.halted,
          Promise.all(open.map((each) => gates.get(each)!.promise)),
        ])
      if (!(await sending.deliver(step.request))) return
      step.answered = true
      gates.get(step)!.resolve()
    }
  }
  await Promise.all(lists.map(one))
}
