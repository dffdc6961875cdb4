import { AddressPolicy } from '#engine/federation/addresses.ts'
import { AppserviceRequests } from '#engine/federation/appservice-requests.ts'
import { Backoff } from '#engine/federation/backoff.ts'
import { Budget } from '#engine/federation/budget.ts'
import { Client } from '#engine/federation/client.ts'
import { Dialer } from '#engine/federation/dialer.ts'
import { Discovery } from '#engine/federation/discovery.ts'
import { type Dns, systemDns } from '#engine/federation/dns.ts'
import { Downloads } from '#engine/federation/downloads.ts'
import { Follower } from '#engine/federation/follower.ts'
import { Keyring } from '#engine/federation/keyring.ts'
import type { FederationOptions } from '#engine/federation/options.ts'
import { Outbox } from '#engine/federation/outbox.ts'
import { PushGateways } from '#engine/federation/push-gateways.ts'
import { type OwnKeys, loadOwnKeys } from '#engine/federation/own-keys.ts'
import { WellKnown } from '#engine/federation/well-known.ts'
import type { Handlers } from '#engine/worker/channel.ts'
import type { Sample } from '#engine/worker/measured.ts'
import type {
  Federation,
  FederationCalls,
  OutgoingAnswer,
  OutgoingRequest,
  Signal,
} from '#engine/worker/protocol.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as outbox from '#store/federation/outbox.ts'

export type FederationParts = {
  options: FederationOptions
  sql: Pool
  log: Log
  clock: () => number
  /** For tests: other names than those of the system, and a port that needs no privilege. */
  dns?: Dns
  wellKnownPort?: number
  lookEveryMs?: number
}

const pendingEveryMs = 60_000
const sweepEveryMs = 300_000
const day = 86_400_000

/** Everything that asks or tells other servers, put together; the federation worker runs one. */
export class FederationEngine implements Handlers<FederationCalls> {
  readonly client: Client
  readonly discovery: Discovery
  readonly keyring: Keyring
  readonly outbox: Outbox
  readonly follower: Follower
  readonly downloads: Downloads
  readonly gateways: PushGateways
  readonly appservices: AppserviceRequests
  readonly #budget: Budget
  readonly #backoff: Backoff
  readonly #parts: FederationParts
  #timers: ReturnType<typeof setInterval>[] = []

  private constructor(parts: FederationParts, ownKeys: OwnKeys) {
    const { options, sql, log, clock, dns = systemDns } = parts
    const { serverName } = options
    this.#parts = parts
    const policy = new AddressPolicy({
      blocked: options.blockedRanges,
      allowed: options.allowedRanges,
    })
    const dialer = new Dialer({ dns, policy, extraAuthorities: options.extraAuthorities })
    const wellKnown = new WellKnown({
      dialer,
      clock,
      ...(parts.wellKnownPort !== undefined && { port: parts.wellKnownPort }),
    })
    this.discovery = new Discovery({
      dns,
      wellKnown,
      staticDestinations: new Map(Object.entries(options.staticDestinations)),
    })
    this.#backoff = new Backoff({
      sql,
      log,
      clock,
      firstMs: options.retryMinMs,
      longestMs: options.retryMaxMs,
    })
    const forDownloads = Math.max(1, Math.floor(options.maxInFlight / 8))
    const forGateways = forDownloads
    const forAppservices = forDownloads
    this.#budget = new Budget({
      perServer: 8,
      waitingPerServer: 200,
      total: Math.max(1, options.maxInFlight - forDownloads - forGateways - forAppservices),
      waitingTotal: 20_000,
    })
    this.client = new Client({
      serverName,
      signingKey: ownKeys.current,
      userAgent: 'Laneway',
      discovery: this.discovery,
      dialer,
      budget: this.#budget,
      backoff: this.#backoff,
      clock,
    })
    this.downloads = new Downloads({
      client: this.client,
      dialer,
      maxInFlight: forDownloads,
      answerMs: options.requestTimeoutMs,
    })
    this.gateways = new PushGateways({
      ...options.gateways,
      dns,
      extraAuthorities: options.extraAuthorities,
      maxInFlight: forGateways,
    })
    this.appservices = new AppserviceRequests({
      dns,
      extraAuthorities: options.extraAuthorities,
      maxInFlight: forAppservices,
    })
    const federation: Federation = { call: (method, ...args) => this.#call(method, args) }
    this.keyring = new Keyring({
      serverName,
      ownKeys,
      sql,
      log,
      federation,
      notaries: options.notaries,
      clock,
      deadlineMs: Math.min(10_000, options.requestTimeoutMs),
    })
    this.outbox = new Outbox({
      serverName,
      sql,
      log,
      clock,
      federation,
      backoff: this.#backoff,
      deadlineMs: options.requestTimeoutMs,
      longestMs: options.retryMaxMs,
    })
    this.follower = new Follower({
      serverName,
      sql,
      log,
      onNew: (servers) => this.outbox.wake(servers),
      ...(parts.lookEveryMs !== undefined && { lookEveryMs: parts.lookEveryMs }),
    })
  }

  /** Starts it: what waited when the last one stopped is sent. */
  static async start(parts: FederationParts): Promise<FederationEngine> {
    const ownKeys = await loadOwnKeys(parts.sql, parts.clock)
    const engine = new FederationEngine(parts, ownKeys)
    await engine.#backoff.load()
    await engine.follower.start()
    await engine.#wakePending()
    engine.#repeat(pendingEveryMs, () => engine.#wakePending())
    engine.#repeat(sweepEveryMs, () => {
      const now = parts.clock()
      return outbox.sweep(parts.sql, now - day, now - 30 * day)
    })
    return engine
  }

  request(request: OutgoingRequest): Promise<OutgoingAnswer> {
    return this.client.request(request)
  }

  keys(...[wanted, deadlineMs]: Parameters<FederationCalls['keys']>) {
    return this.keyring.keys(wanted, deadlineMs)
  }

  keyDocuments(...[wanted, deadlineMs]: Parameters<FederationCalls['keyDocuments']>) {
    return this.keyring.documents(wanted, deadlineMs)
  }

  signal(signal: Signal): void {
    switch (signal.s) {
      case 'rooms-at':
        return this.follower.tell(signal.positions, signal.sends)
      case 'heard-from':
        for (const server of signal.servers) this.#backoff.heardFrom(server)
        return
      case 'outbox':
        return this.outbox.wake(signal.servers)
      case 'edu':
        return this.outbox.sendEphemeral(signal.servers, signal.key, signal.edu)
      case 'users-at':
        return
    }
  }

  counters(): { [name: string]: number } {
    return {
      federation_in_flight: this.#budget.inFlight,
      federation_waiting: this.#budget.waiting,
      ...this.outbox.counters,
    }
  }

  /** What it has counted and what waits; of all servers together, however many there are. */
  samples(): Sample[] {
    const { sending, resting, ephemeral } = this.outbox.states
    const { inFlight, waiting } = this.downloads.counts
    const { outbox_transactions_sent: sent = 0 } = this.outbox.counters
    const destinations = (state: string, value: number): Sample => ({
      name: 'outbox_destinations',
      labels: { state },
      value,
    })
    return [
      destinations('sending', sending),
      destinations('resting', resting),
      { name: 'outbox_ephemeral_edus', value: ephemeral },
      { name: 'outbox_transactions_total', value: sent },
      { name: 'destinations_backing_off', value: this.#backoff.count() },
      { name: 'federation_requests_in_flight', value: this.#budget.inFlight },
      { name: 'federation_requests_waiting', value: this.#budget.waiting },
      { name: 'federation_requests_servers', value: this.#budget.servers },
      { name: 'appservice_requests_in_flight', value: this.appservices.inFlight },
      { name: 'media_downloads_in_flight', value: inFlight },
      { name: 'media_downloads_waiting', value: waiting },
    ]
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    await this.follower.stop()
    await this.outbox.stop(1_000)
    await this.#backoff.flush()
  }

  async #wakePending(): Promise<void> {
    this.outbox.wake(await outbox.pendingServers(this.#parts.sql))
  }

  #repeat(ms: number, work: () => Promise<void>): void {
    const timer = setInterval(() => {
      work().catch((error: unknown) =>
        this.#parts.log.warn({ err: error }, 'the outbox was not looked through'),
      )
    }, ms)
    timer.unref()
    this.#timers.push(timer)
  }

  async #call<M extends keyof FederationCalls>(
    method: M,
    args: Parameters<FederationCalls[M]>,
  ): Promise<ReturnType<FederationCalls[M]>> {
    const answer = (this[method] as (...args: unknown[]) => Promise<unknown>)(...args)
    return answer as Promise<ReturnType<FederationCalls[M]>>
  }
}
