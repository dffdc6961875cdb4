import { snakeCase } from '#core/snake-case.ts'
import type { RequestTimes } from '#api/http/request-times.ts'
import type { Bridges } from '#engine/appservice/bridges.ts'
import type { Intake } from '#engine/federation/intake.ts'
import type { FederationThread } from '#engine/federation/thread.ts'
import type { MediaThread } from '#engine/media/thread.ts'
import type { PushSender } from '#engine/push/sender.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { UserShards } from '#engine/user/owner.ts'
import type { Sample } from '#engine/worker/measured.ts'
import type { RoomPool } from '#engine/worker/pool.ts'
import type { Pool } from '#store/db.ts'
import * as imports from '#store/import/gauges.ts'
import { sessionStates } from '#store/import/sessions.ts'
import * as inbox from '#store/room/inbox.ts'
import { SHARDS } from '#core/shard.ts'
import { type LongLane, longestLanes } from './long-lanes.ts'
import type { ThreadMeter } from './thread-meter.ts'
import { write } from './write.ts'

export type SeeingParts = {
  sql: Pool
  clock: () => number
  meter: ThreadMeter
  requests: RequestTimes
  rooms: Pick<RoomPool, 'measure' | 'lanes' | 'workers'>
  federation: Pick<FederationThread, 'measure' | 'isUp'>
  positions: Pick<Positions, 'waiting'>
  users: Pick<UserShards, 'waiting' | 'notKept'>
  intake: Pick<Intake, 'counts' | 'gauges' | 'lagMs' | 'isShedding'>
  push: Pick<PushSender, 'counts'>
  bridges: Pick<Bridges, 'counts' | 'oldest'>
  mediaWorker: Pick<MediaThread, 'waiting'>
  /** Those of the main thread that are not told of otherwise; undefined: there is none such. */
  queues: Readonly<Record<string, { readonly waiting: number } | undefined>>
}

/** So long a scrape waits for the database; workers have a second. */
const databaseMs = 1_000
/** So often the inbox is counted at most, and the database asked whether it is there. */
const inboxEveryMs = 5_000
const probeEveryMs = 1_000
/** A database that takes longer is of no use to whoever asks. */
const probeMs = 3_000

/** Shows what the server does: to Prometheus, to load balancers, to administrators. */
export class Seeing {
  readonly #parts: SeeingParts
  #inbox: Kept<readonly inbox.Gauge[]>
  #probe: Kept<boolean>
  #oldest: Kept<ReadonlyMap<string, number>>
  #imports: Kept<readonly imports.ImportGauge[]>

  constructor(parts: SeeingParts) {
    this.#parts = parts
    const { sql } = parts
    this.#inbox = new Kept(inboxEveryMs, () => inbox.gauges(sql))
    this.#imports = new Kept(inboxEveryMs, () => imports.gauges(sql))
    this.#oldest = new Kept(inboxEveryMs, () => parts.bridges.oldest())
    this.#probe = new Kept(probeEveryMs, async () => {
      await sql`select 1`
      return true
    })
  }

  /** Everything that is measured, as Prometheus reads it. Who does not answer in time is left out. */
  async metrics(): Promise<string> {
    const { rooms, federation } = this.#parts
    const [inboxSamples, appserviceSamples, importSamples, workers, federated] = await Promise.all([
      this.#inboxSamples(),
      this.#appserviceSamples(),
      this.#importSamples(),
      rooms.measure(),
      federation.measure(),
    ])
    const threads = [
      { thread: 'main', samples: this.#mainSamples() },
      ...workers,
      { thread: 'federation', samples: federated },
    ]
    const ofThreads = threads.flatMap(({ thread, samples }): Sample[] => [
      { name: 'thread_up', labels: { thread }, value: samples ? 1 : 0 },
      ...(samples ?? []).map((each) => ({ ...each, labels: { thread, ...each.labels } })),
    ])
    return write([
      ...this.#processSamples(),
      ...this.#requestSamples(),
      ...inboxSamples,
      ...appserviceSamples,
      ...importSamples,
      ...ofThreads,
    ])
  }

  /** What is not ready to serve; nothing if all is. */
  async unready(): Promise<string[]> {
    const { rooms, federation, intake } = this.#parts
    const { all, up } = rooms.workers
    const faults: string[] = []
    if ((await this.#probe.within(probeMs)) === undefined) faults.push('database')
    if (up < all) faults.push('room workers')
    if (!federation.isUp) faults.push('federation worker')
    if (intake.isShedding) faults.push('too much to do')
    return faults
  }

  longestLanes(limit: number): Promise<LongLane[]> {
    const { sql, rooms, clock } = this.#parts
    return longestLanes(sql, rooms, clock(), limit)
  }

  #processSamples(): Sample[] {
    const { user, system } = process.cpuUsage()
    return [
      { name: 'process_cpu_seconds_total', labels: { mode: 'user' }, value: user / 1e6 },
      { name: 'process_cpu_seconds_total', labels: { mode: 'system' }, value: system / 1e6 },
      { name: 'process_resident_memory_bytes', value: process.memoryUsage.rss() },
      { name: 'process_start_time_seconds', value: performance.timeOrigin / 1000 },
    ]
  }

  #requestSamples(): Sample[] {
    const { requests } = this.#parts
    const samples: Sample[] = [{ name: 'http_requests_under_way', value: requests.underWay }]
    for (const { method, route, times, statuses } of requests.asked()) {
      samples.push({
        name: 'http_request_seconds',
        labels: { method, route },
        value: times.seconds(),
      })
      for (const [status, value] of statuses)
        samples.push({
          name: 'http_requests_total',
          labels: { method, route, status: String(status) },
          value,
        })
    }
    return samples
  }

  #mainSamples(): Sample[] {
    const { meter, positions, users, intake, push, mediaWorker } = this.#parts
    const { inHand, refused } = intake.counts
    const { waiting, inFlight, failing } = push.counts
    return [
      ...meter.samples(),
      { name: 'sync_waiting', value: positions.waiting },
      { name: 'user_changes_waiting', value: users.waiting },
      { name: 'device_messages_not_kept_total', value: users.notKept },
      { name: 'intake_transactions_in_hand', value: inHand },
      { name: 'intake_lag_seconds', value: intake.lagMs / 1000 },
      ...Object.entries(refused).map(([reason, value]) => ({
        name: 'transactions_refused_total',
        labels: { reason },
        value,
      })),
      ...Object.entries(intake.gauges()).map(([key, value]) => ({
        name: 'intake_state',
        labels: { what: snakeCase(key) },
        value,
      })),
      { name: 'push_waiting', value: waiting },
      { name: 'push_in_flight', value: inFlight },
      { name: 'push_gateways_failing', value: failing },
      { name: 'media_work_waiting', value: mediaWorker.waiting },
      ...this.#queueSamples(),
    ]
  }

  #queueSamples(): Sample[] {
    return Object.entries(this.#parts.queues).map(([queue, length]) => ({
      name: 'queue_length',
      labels: { queue },
      value: length?.waiting ?? 0,
    }))
  }

  async #appserviceSamples(): Promise<Sample[]> {
    const { bridges, clock } = this.#parts
    const { counts } = bridges
    if (counts.length === 0) return []
    const oldest = await this.#oldest.within(databaseMs)
    const now = clock()
    return counts.flatMap(({ id, waiting, failures, faults, isUp, sent, dropped }) => {
      const labels = { thread: 'main', appservice: id }
      const age = oldest && Math.max(0, now - (oldest.get(id) ?? now)) / 1000
      return [
        { name: 'appservice_events_waiting', labels, value: waiting },
        ...(age === undefined ? [] : [{ name: 'appservice_oldest_seconds', labels, value: age }]),
        { name: 'appservice_up', labels, value: isUp && failures === 0 ? 1 : 0 },
        { name: 'appservice_failures', labels, value: failures },
        ...Object.entries(faults).map(([kind, value]) => ({
          name: 'appservice_failures_total',
          labels: { ...labels, kind },
          value,
        })),
        { name: 'appservice_transactions_total', labels, value: sent },
        { name: 'appservice_events_dropped_total', labels, value: dropped },
      ]
    })
  }

  async #importSamples(): Promise<Sample[]> {
    const rows = (await this.#imports.within(databaseMs)) ?? []
    const sum = (of: (row: imports.ImportGauge) => number) =>
      rows.reduce((all, row) => all + of(row), 0)
    return [
      ...sessionStates.map((state) => ({
        name: 'imports',
        labels: { state },
        value: rows.find((row) => row.state === state)?.sessions ?? 0,
      })),
      ...Object.entries({
        accepted: sum((row) => row.accepted),
        duplicates: sum((row) => row.duplicates),
        failed: sum((row) => row.failed),
      }).map(([outcome, value]) => ({ name: 'import_records', labels: { outcome }, value })),
    ]
  }

  async #inboxSamples(): Promise<Sample[]> {
    const rows = await this.#inbox.within(databaseMs)
    if (!rows) return []
    const now = this.#parts.clock()
    const byShard = new Map(rows.map((row) => [row.shard, row]))
    return Array.from({ length: SHARDS }, (_, shard) => {
      const { rows: events = 0, oldest = now } = byShard.get(shard) ?? {}
      const labels = { shard: String(shard) }
      return [
        { name: 'inbox_events', labels, value: events },
        { name: 'inbox_oldest_seconds', labels, value: Math.max(0, now - oldest) / 1000 },
      ]
    }).flat()
  }
}

/** An answer that is asked for once for all who want it, and kept for a moment. */
class Kept<T> {
  readonly #keepMs: number
  readonly #ask: () => PromiseLike<T>
  #kept: { value: T; at: number } | undefined
  #asking: Promise<T | undefined> | undefined

  constructor(keepMs: number, ask: () => PromiseLike<T>) {
    this.#keepMs = keepMs
    this.#ask = ask
  }

  /** Undefined if there is none in so many milliseconds. */
  async within(ms: number): Promise<T | undefined> {
    if (this.#kept && performance.now() - this.#kept.at < this.#keepMs) return this.#kept.value
    this.#asking ??= this.#again()
    const late = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => late.resolve(undefined), ms)
    try {
      return await Promise.race([this.#asking, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  async #again(): Promise<T | undefined> {
    try {
      const value = await this.#ask()
      this.#kept = { value, at: performance.now() }
      return value
    } catch {
      // Whoever asked is told that there is none; the pool says in the log why.
      this.#kept = undefined
      return undefined
    } finally {
      this.#asking = undefined
    }
  }
}
