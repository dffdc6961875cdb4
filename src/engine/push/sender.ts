import { parseJson } from '#core/canonical-json.ts'
import { isObject } from '#core/json.ts'
import { Gateways, type Pauses } from '#engine/push/gateways.ts'
import { countBody, eventBody, urlOf } from '#engine/push/notification.ts'
import { type Surroundings, nameKey, readSurroundings, toldOf } from '#engine/push/surroundings.ts'
import { type Done, DoneItems } from '#engine/push/done-items.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as queue from '#store/push/queue.ts'

/** Makes one request to a gateway; fails if there is no answer in time. */
export type AskGateway = (url: string, body: string) => Promise<{ status: number; body: string }>

export type PushSenderOptions = Partial<Pauses> & {
  sql: Pool
  log: Pick<Log, 'warn' | 'debug'>
  clock: () => number
  ask: AskGateway
  /** How much a user has not read. */
  unreadOf: (userId: string) => Promise<number>
  /** Ends a pusher that its gateway no longer knows. */
  remove: (userId: string, key: { appId: string; pushkey: string }) => Promise<unknown>
  perGateway?: number
  total?: number
  tickMs?: number
}

/** Items of one pusher that are read at once. */
const maxTaken = 20
/** Items that wait for one pusher; of more, only the newest are kept. */
export const maxQueued = 100
/** What could not be told for so long is not told any more. */
const giveUpMs = 24 * 3600 * 1000

type Batch = {
  names: ReadonlyMap<string, Surroundings>
  /** Counted once for all pushers of a user. */
  unread: Map<string, Promise<number>>
}

/**
 * Tells push gateways what is queued: of each pusher one thing at a time, in order, and it leaves the
 * queue before the next one is told. After a crash one push of each pusher may come twice, none is lost.
 */
export class PushSender {
  readonly #options: PushSenderOptions
  readonly #gateways: Gateways
  readonly #done: DoneItems
  readonly #jobs = new Set<Promise<void>>()
  #timer: ReturnType<typeof setInterval> | undefined
  #taking = false
  #again = false
  #stopped = false

  constructor(options: PushSenderOptions) {
    this.#options = options
    const { clock, firstMs = 1_000, longestMs = 3_600_000 } = options
    const { perGateway = 16, total = 24 } = options
    this.#gateways = new Gateways({ clock, firstMs, longestMs, perGateway, total })
    this.#done = new DoneItems(options.sql)
  }

  get counts() {
    return this.#gateways.counts
  }

  /** Goes on with what was queued when the last one stopped. */
  async start(): Promise<void> {
    await queue.dropStray(this.#options.sql)
    this.wake(await queue.pending(this.#options.sql))
    this.#timer = setInterval(() => this.#pump(), this.#options.tickMs ?? 1_000)
    this.#timer.unref()
  }

  /** Begins nothing more; what is under way has a moment to end. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await Promise.race([Promise.allSettled(this.#jobs), Bun.sleep(1_000)])
  }

  wake(queued: readonly queue.Queued[]): void {
    if (this.#stopped) return
    const long: number[] = []
    for (const { pusher_id: pusherId, gateway } of queued) {
      if (gateway === '') continue
      const woken = this.#gateways.wake(pusherId, gateway)
      // Now and then is enough.
      if (woken % (maxQueued / 2) === 0) long.push(pusherId)
    }
    if (long.length > 0)
      queue.trim(this.#options.sql, long, maxQueued).catch((error: unknown) => this.#warn(error))
    this.#pump()
  }

  #pump(): void {
    if (this.#stopped) return
    if (this.#taking) {
      this.#again = true
      return
    }
    const pusherIds = this.#gateways.take()
    if (pusherIds.length === 0) return
    this.#taking = true
    const job = this.#take(pusherIds).finally(() => {
      this.#taking = false
      this.#jobs.delete(job)
      if (!this.#again) return
      this.#again = false
      this.#pump()
    })
    this.#jobs.add(job)
  }

  /** Reads what some pushers have to tell, and begins to tell it. */
  async #take(pusherIds: readonly number[]): Promise<void> {
    const { sql } = this.#options
    try {
      const items = await queue.take(sql, pusherIds, maxTaken)
      const told = items.filter(({ settled }) => !settled).flatMap((item) => toldOf(item) ?? [])
      const names = await readSurroundings(sql, told)
      const byPusher = Map.groupBy(items, (item) => item.pusher_id)
      const batch: Batch = { names, unread: new Map() }
      for (const pusherId of pusherIds) this.#begin(pusherId, byPusher.get(pusherId) ?? [], batch)
    } catch (error) {
      this.#warn(error)
      for (const pusherId of pusherIds) this.#gateways.pusherFailed(pusherId)
    }
  }

  #begin(pusherId: number, items: readonly queue.Item[], batch: Batch): void {
    const job = this.#serve(pusherId, items, batch)
      .catch((error: unknown) => {
        this.#warn(error)
        this.#gateways.pusherFailed(pusherId)
      })
      .finally(() => {
        this.#jobs.delete(job)
        this.#pump()
      })
    this.#jobs.add(job)
  }

  async #serve(pusherId: number, items: readonly queue.Item[], batch: Batch): Promise<void> {
    let left: Done | undefined
    let told = items[0]?.told_unread ?? 0
    for (const [index, item] of items.entries()) {
      if (this.#stopped) break
      const isLast = index === items.length - 1
      const { shard, queue_no: queueNo } = item
      left = { shard, pusherId, queueNo }
      const unread = this.#isOver(item, isLast) ? undefined : await this.#unreadOf(item, batch)
      const body = unread === undefined ? undefined : this.#bodyOf(item, unread, told, batch)
      if (unread === undefined || body === undefined) continue
      const outcome = await this.#tell(pusherId, item, body)
      if (outcome === 'removed') return this.#gateways.removed(pusherId)
      if (outcome === 'gateway failed') return this.#gateways.gatewayFailed(pusherId)
      if (outcome === 'failed') return this.#gateways.pusherFailed(pusherId)
      await this.#done.note({ ...left, unread })
      told = unread
      left = undefined
    }
    if (left) await this.#done.note(left)
    this.#gateways.done(pusherId, { more: items.length === maxTaken })
  }

  /** Whether an item is not told any more: it was read or taken back, it is too old, or what follows says it too. */
  #isOver(item: queue.Item, isLast: boolean): boolean {
    if (item.settled || item.queued_at < this.#options.clock() - giveUpMs) return true
    return item.event_nid === null && !isLast
  }

  #unreadOf({ user_id: userId }: queue.Item, { unread }: Batch): Promise<number> {
    let count = unread.get(userId)
    if (!count) {
      count = this.#options.unreadOf(userId)
      unread.set(userId, count)
    }
    return count
  }

  #bodyOf(
    item: queue.Item,
    unread: number,
    toldUnread: number,
    { names }: Batch,
  ): string | undefined {
    if (item.event_nid === null) return unread === toldUnread ? undefined : countBody(item, unread)
    const told = toldOf(item)
    return told && eventBody(told, names.get(nameKey(told))!, unread)
  }

  async #tell(pusherId: number, item: queue.Item, body: string) {
    let answer
    try {
      answer = await this.#options.ask(urlOf(item), body)
    } catch (error) {
      this.#options.log.debug({ err: error }, 'a push gateway did not answer')
      return 'gateway failed'
    }
    const { status } = answer
    if (status === 429 || status >= 500) return 'gateway failed'
    this.#gateways.answered(pusherId)
    if (status < 200 || status >= 300) return 'failed'
    const json = parseJson(answer.body)
    const rejected = isObject(json) ? json['rejected'] : undefined
    if (!Array.isArray(rejected) || !rejected.includes(item.pushkey)) return 'told'
    await this.#options.remove(item.user_id, { appId: item.app_id, pushkey: item.pushkey })
    return 'removed'
  }

  #warn(error: unknown): void {
    if (!this.#stopped) this.#options.log.warn({ err: error }, 'what is to be pushed was not told')
  }
}
