import type { PolicyServer } from '#core/content/m.room.policy.ts'
import { type Errcode, limitExceeded, MatrixError, RemoteError, tooLarge } from '#core/error.ts'
import { maxPduBytes } from '#core/event/check.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { hasPolicySignature, withPolicySignature } from '#core/event/policy.ts'
import { answerTooLarge, isTransient, malformedAnswer } from '#engine/federation/answer.ts'
import { askPolicyServerToSign, type PolicyAnswer } from '#engine/federation/remote-policy.ts'
import type { Limits } from '#engine/room/limits.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/** An event with the signature of its room's policy server. */
export type SignedByPolicy = Readonly<{ event: RoomEvent; text: string }>

/** What became of an event that nobody waits for. */
export type PolicyOutcome = SignedByPolicy | Readonly<{ reason: string }>

type Job = Readonly<{
  event: RoomEvent
  server: PolicyServer
  until: number
  done: (outcome: PolicyOutcome) => void
}>

/** What waits for one server. */
type Line = {
  readonly jobs: Job[]
  asking: number
  /** How long it is left alone after it failed, until when, and since when it has done nothing else. */
  pauseMs: number
  retryAt: number
  downSince: number | undefined
  timer: ReturnType<typeof setTimeout> | undefined
}

type Options = { federation: Federation; limits: Limits; now: () => number }

const perServer = 4
const maxPauseMs = 60_000
/** Servers that are down and for which nothing waits, of which that is remembered. */
const maxLines = 1_000

/**
 * Asks policy servers to sign events. An event that a user waits for is asked for at once, and once. For
 * events of other servers a few requests to one server are under way, and it is left alone for a while
 * where it fails; one that has failed for longer than an event may wait is not waited for any more.
 *
 * Spec: server-server-api/#asking-for-a-policy-server-signature-on-an-event
 */
export class PolicyServers {
  readonly #options: Options
  readonly #lines = new Map<string, Line>()
  /** Local users who wait, by server. */
  readonly #waiting = new Map<string, number>()
  #waitingInAll = 0
  #stopped = false

  constructor(options: Options) {
    this.#options = options
  }

  /** For a local user, who is told what the policy server says, or that too many wait for it. */
  async sign(event: RoomEvent, server: PolicyServer): Promise<SignedByPolicy> {
    const { via } = server
    const { policyAsking, policyAskingInAll } = this.#options.limits
    const waiting = this.#waiting.get(via) ?? 0
    if (waiting >= policyAsking || this.#waitingInAll >= policyAskingInAll)
      throw limitExceeded(2_000)
    let asked: SignedByPolicy | PolicyAnswer
    this.#waiting.set(via, waiting + 1)
    this.#waitingInAll++
    try {
      asked = await this.#ask(event, server)
    } catch (error) {
      if (error instanceof RemoteError) throw failure(error)
      throw error
    } finally {
      this.#waitingInAll--
      const left = this.#waiting.get(via)! - 1
      if (left > 0) this.#waiting.set(via, left)
      else this.#waiting.delete(via)
    }
    if ('event' in asked) {
      if (Buffer.byteLength(asked.text) > maxPduBytes)
        throw tooLarge('With the signature of the policy server the event is too large')
      return asked
    }
    if (asked.outcome === 'later') throw limitExceeded(asked.retryAfterMs ?? 1_000)
    throw refusal((asked as Extract<PolicyAnswer, { outcome: 'refused' }>).error)
  }

  /** For an event of another server: resolves in any case, when it is signed or will not be. */
  signLater(event: RoomEvent, server: PolicyServer): Promise<PolicyOutcome> {
    const { promise, resolve: done } = Promise.withResolvers<PolicyOutcome>()
    const { now, limits } = this.#options
    const line = this.#lineOf(server.via)
    const { downSince, retryAt } = line
    if (downSince !== undefined && downSince + limits.policyWaitMs <= now() && retryAt > now())
      return Promise.resolve({ reason: `The policy server ${server.via} cannot be reached` })
    line.jobs.push({ event, server, until: now() + limits.policyWaitMs, done })
    this.#go(server.via, line)
    return promise
  }

  /** Asks no more; what waits is asked for again after the next start. */
  stop(): void {
    this.#stopped = true
    for (const { timer } of this.#lines.values()) clearTimeout(timer)
  }

  #lineOf(via: string): Line {
    const there = this.#lines.get(via)
    if (there) return there
    if (this.#lines.size >= maxLines)
      for (const [name, { jobs, asking }] of this.#lines)
        if (jobs.length === 0 && asking === 0) {
          this.#lines.delete(name)
          break
        }
    const line: Line = {
      jobs: [],
      asking: 0,
      pauseMs: 0,
      retryAt: 0,
      downSince: undefined,
      timer: undefined,
    }
    this.#lines.set(via, line)
    return line
  }

  /** Begins what may begin. */
  #go(via: string, line: Line): void {
    if (this.#stopped) return
    const now = this.#options.now()
    while (line.jobs.length > 0 && line.jobs[0]!.until <= now)
      line.jobs.shift()!.done({ reason: `The policy server ${via} did not answer in time` })
    // Of one that failed it is found out by one request whether it is back.
    const atOnce = line.pauseMs > 0 ? 1 : perServer
    while (line.jobs.length > 0 && line.asking < atOnce && line.retryAt <= now)
      void this.#run(via, line, line.jobs.shift()!)
    clearTimeout(line.timer)
    line.timer = undefined
    const [first] = line.jobs
    if (first && line.retryAt > now)
      line.timer = setTimeout(
        () => this.#go(via, line),
        Math.max(1, Math.min(line.retryAt, first.until) - now),
      )
    if (!first && line.asking === 0 && line.downSince === undefined) this.#lines.delete(via)
  }

  async #run(via: string, line: Line, job: Job): Promise<void> {
    line.asking++
    try {
      const asked = await this.#ask(job.event, job.server)
      if ('outcome' in asked && asked.outcome === 'later') this.#pause(line, asked.retryAfterMs)
      else Object.assign(line, { pauseMs: 0, retryAt: 0, downSince: undefined })
      if ('event' in asked) job.done(asked)
      else if (asked.outcome === 'later') line.jobs.unshift(job)
      else job.done({ reason: `The policy server ${via} does not sign the event` })
    } catch (error) {
      if (error instanceof RemoteError && isTransient(error) && error.errcode !== answerTooLarge) {
        this.#pause(line, undefined)
        line.downSince ??= this.#options.now()
        line.jobs.unshift(job)
      } else job.done({ reason: error instanceof Error ? error.message : String(error) })
    } finally {
      line.asking--
      this.#go(via, line)
    }
  }

  #pause(line: Line, atLeastMs = 0): void {
    const { now, limits } = this.#options
    // Of requests that failed together one counts.
    if (line.retryAt > now()) return
    line.pauseMs = Math.min(maxPauseMs, line.pauseMs * 2 || limits.policyPauseMs)
    line.retryAt = now() + Math.min(maxPauseMs, Math.max(line.pauseMs, atLeastMs))
  }

  async #ask(
    event: RoomEvent,
    server: PolicyServer,
  ): Promise<SignedByPolicy | Exclude<PolicyAnswer, { outcome: 'signed' }>> {
    const { federation, limits } = this.#options
    const { version, pdu } = event
    const text = canonicalEvent(version, pdu)!
    const answer = await askPolicyServerToSign(federation, server.via, text, limits.policyMs)
    if (answer.outcome !== 'signed') return answer
    const signed = withPolicySignature(event, server.via, answer.signature)
    if (!hasPolicySignature(signed, server))
      throw malformedAnswer(server.via, 'holds a signature that the key of the room does not fit')
    return { event: signed, text: canonicalEvent(version, signed.pdu)! }
  }
}

/** Codes by which a client would take it that its own session is over, or that it must do something. */
const ofSessions =
  /^M_(UNKNOWN_TOKEN|MISSING_TOKEN|USER_\w+|GUEST_ACCESS_FORBIDDEN|CONSENT_NOT_GIVEN|RESOURCE_LIMIT_EXCEEDED)$/

/** The policy server's own words, except where they would speak of the user's session here. */
function refusal({ status, errcode, message }: RemoteError): MatrixError {
  const isCode = /^M_[A-Z0-9_]+$|^[a-z0-9_.-]+\.[a-z0-9_.-]+$/i.test(errcode)
  const isTheirs = isCode && !ofSessions.test(errcode)
  return new MatrixError(status, isTheirs ? (errcode as Errcode) : 'M_FORBIDDEN', message)
}

function failure({ server, status, errcode, message }: RemoteError): MatrixError {
  const text = `The policy server ${server} of the room cannot be asked: ${message}`
  const isSilent = status === 0 && errcode !== answerTooLarge
  return new MatrixError(isSilent ? 504 : 502, 'M_UNKNOWN', text)
}
