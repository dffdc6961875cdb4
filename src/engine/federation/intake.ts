import { limitExceeded, MatrixError } from '#core/error.ts'
import { maxPduBytes } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { readPdu } from '#core/event/receive.ts'
import { domainOf, isRoomId } from '#core/ids.ts'
import { isObject, type Json } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import { Arrivals } from '#engine/federation/arrivals.ts'
import { type InboundRoom, InboundRooms } from '#engine/federation/inbound-rooms.ts'
import { Backlog, type BacklogLimits } from '#engine/federation/backlog.ts'
import { Debts } from '#engine/federation/debts.ts'
import { isDurable, messagesIn } from '#engine/federation/durable-edus.ts'
import { LoopLag } from '#engine/federation/loop-lag.ts'
import { Posts } from '#engine/federation/posts.ts'
import type { CheckedPdu, InboxEntry, Rooms } from '#engine/worker/protocol.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as inbound from '#store/federation/inbound.ts'
import type { NewInboxRow } from '#store/room/inbox.ts'
import { graphOf } from '#store/room/inbox-thinning.ts'

export type IntakeOptions = {
  serverName: string
  sql: Pool
  log: Log
  clock: () => number
  rooms: Rooms
  /** Makes the effects of to-device and device-list EDUs durable; twice is as good as once. */
  takeEdus: (origin: string, edus: readonly Json[]) => Promise<void>
  limits?: Partial<IntakeLimits>
}

export type IntakeLimits = BacklogLimits & {
  /** PDUs of one origin in the long run, and at once. */
  pdusPerSecond: number
  pdusAtOnce: number
  /** Beyond this lateness of the event loop nothing is taken in. */
  maxLagMs: number
  /** Messages to devices of one origin, likewise. */
  messagesPerSecond: number
  messagesAtOnce: number
  /** Transactions in hand at once, of all origins, and their bytes. */
  maxInFlight: number
  maxBytesInFlight: number
  /** Those that are durable, and whose answers are held back. */
  maxPaused: number
  /** Beyond this lateness of a room worker, or these bytes on their way to all, texts stay in the inbox. */
  maxWorkerLagMs: number
  maxPostedBytes: number
}

const defaultLimits: IntakeLimits = {
  pdusPerSecond: 2_000,
  pdusAtOnce: 20_000,
  maxLagMs: 250,
  messagesPerSecond: 1_000,
  messagesAtOnce: 50_000,
  maxBacklog: 50_000,
  roomSlow: 5_000,
  roomRefuse: 20_000,
  roomMost: 100_000,
  maxPauseMs: 5_000,
  maxInFlight: 200,
  maxBytesInFlight: 32 * 2 ** 20,
  maxPaused: 2_000,
  maxWorkerLagMs: 1_000,
  maxPostedBytes: 16 * 2 ** 20,
}

export type Transaction = { pdus: readonly Json[]; edus: readonly Json[] }

type Taken = NewInboxRow & { checked: CheckedPdu | undefined }

type Handed = { text: string; pauseMs: number }

const refuseMs = 5_000
const keepAnswersMs = 3 * 86_400_000
const pruneEveryMs = 3_600_000

/**
 * Takes transactions of other servers in: what they bring is durable before they are answered, and
 * no room's work stands in between.
 *
 * Spec: server-server-api/#put_matrixfederationv1sendtxnid
 */
export class Intake {
  readonly rooms: InboundRooms
  readonly #options: IntakeOptions
  readonly #limits: IntakeLimits
  readonly #lag = new LoopLag()
  readonly #arrivals: Arrivals
  readonly #inFlight = new Map<string, { txnId: string; answer: Promise<string> }>()
  readonly #pdus: Debts
  readonly #messages: Debts
  readonly #backlog: Backlog
  readonly #posts = new Posts()
  readonly #pauses = new Set<() => void>()
  #paused = 0
  #bytes = 0
  #slowed = 0
  #notTaken = 0
  readonly #refused: Record<string, number> = {
    in_hand: 0,
    all_in_hand: 0,
    lag: 0,
    bytes_in_hand: 0,
    backlog: 0,
    room_backlog: 0,
    rate: 0,
    messages: 0,
  }
  readonly #pruning: ReturnType<typeof setInterval>

  constructor(options: IntakeOptions) {
    this.#options = options
    this.rooms = new InboundRooms(options.serverName)
    this.#limits = { ...defaultLimits, ...options.limits }
    const { pdusPerSecond, pdusAtOnce, messagesPerSecond, messagesAtOnce } = this.#limits
    this.#pdus = new Debts(pdusPerSecond, pdusAtOnce)
    this.#messages = new Debts(messagesPerSecond, messagesAtOnce)
    this.#backlog = new Backlog(options.sql, options.log, this.#limits)
    this.#arrivals = new Arrivals(options.sql, options.clock)
    this.#pruning = setInterval(() => this.#prune(), pruneEveryMs)
    this.#pruning.unref()
  }

  stop(): void {
    this.#lag.stop()
    clearInterval(this.#pruning)
    for (const end of this.#pauses) end()
  }

  /** Late by this much, the event loop is no place for more work. */
  get lagMs(): number {
    return this.#lag.ms
  }

  /** Whether it takes nothing in, since the event loop is late. */
  get isShedding(): boolean {
    return this.#lag.ms > this.#limits.maxLagMs
  }

  /** Transactions in hand, and how many were put off, by the reason. */
  get counts(): { inHand: number; refused: Readonly<Record<string, number>> } {
    return { inHand: this.#inFlight.size, refused: this.#refused }
  }

  /** What waits, and for whom: transactions slowed down and events not taken are counted, too. */
  gauges(): Record<string, number> {
    return {
      ...this.#backlog.gauges(),
      inFlight: this.#inFlight.size,
      slowed: this.#slowed,
      notTaken: this.#notTaken,
      paused: this.#paused,
      bytesInFlight: this.#bytes,
      lagMs: this.#lag.ms,
      workerLagMs: this.#posts.latestMs,
      posts: this.#posts.count,
      postedBytes: this.#posts.bytes,
    }
  }

  /**
   * The answer to a transaction, JSON text. Refuses with a time to wait what is too much, and holds
   * the answer back of what is nearly so. `bytes` is what it takes in memory until it is durable, or
   * refused, when `onDone` is called.
   */
  async take(
    origin: string,
    txnId: string,
    transaction: Transaction,
    { bytes = 0, onDone }: { bytes?: number; onDone?: () => void } = {},
  ): Promise<string> {
    const current = this.#inFlight.get(origin)
    // An impatient sender that repeats itself gets the same answer, when there is one.
    if (current?.txnId === txnId) return current.answer
    if (current) throw this.#putOff('in_hand', 500)
    const { maxInFlight, maxBytesInFlight, maxPaused } = this.#limits
    const isFull = this.#inFlight.size - this.#paused >= maxInFlight || this.#paused >= maxPaused
    if (isFull) throw this.#putOff('all_in_hand', 1_000)
    if (this.#bytes > 0 && this.#bytes + bytes > maxBytesInFlight)
      throw this.#putOff('bytes_in_hand', 1_000)
    if (this.isShedding) throw this.#putOff('lag', 1_000 + Math.ceil(1_000 * Math.random()))
    if (!this.#messages.take(origin, messagesIn(transaction.edus)))
      throw this.#putOff('messages', this.#messages.waitMs(origin))

    this.#bytes += bytes
    const handed = this.#hand(origin, txnId, transaction).finally(() => {
      this.#bytes -= bytes
      onDone?.()
    })
    const answer = handed
      .then(({ text, pauseMs }) => (pauseMs > 0 ? this.#pause(text, pauseMs) : text))
      .finally(() => this.#inFlight.delete(origin))
    this.#inFlight.set(origin, { txnId, answer })
    return answer
  }

  async #hand(origin: string, txnId: string, transaction: Transaction): Promise<Handed> {
    const roomIds = new Set(transaction.pdus.map(roomIdOf).filter((id) => id !== undefined))
    const { refusal, pauseMs, full } = this.#backlog.pressure(origin, roomIds)
    if (refusal) return this.#refuse(origin, transaction, this.#putOff(refusal, refuseMs))
    if (!this.#pdus.take(origin, transaction.pdus.length)) {
      const waitMs = this.#pdus.waitMs(origin)
      return this.#refuse(origin, transaction, this.#putOff('rate', waitMs))
    }
    const text = await this.#take(origin, txnId, transaction, full)
    return { text, pauseMs: Math.max(pauseMs, this.#workerPause(roomIds)) }
  }

  /** A worker that is late is given no more than it can take: what comes waits in the inbox, and its sender. */
  #workerPause(roomIds: Iterable<string>): number {
    const { maxWorkerLagMs, maxPauseMs } = this.#limits
    let lateMs = 0
    for (const roomId of roomIds) lateMs = Math.max(lateMs, this.#posts.lateMs(shardOf(roomId)))
    return lateMs > maxWorkerLagMs ? Math.min(lateMs, maxPauseMs) : 0
  }

  async #pause(text: string, ms: number): Promise<string> {
    this.#slowed++
    this.#paused++
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.#pauses.add(resolve)
    await promise
    clearTimeout(timer)
    this.#pauses.delete(resolve)
    this.#paused--
    return text
  }

  #putOff(reason: string, waitMs: number): MatrixError {
    this.#refused[reason]!++
    return limitExceeded(waitMs)
  }

  /** Keys do not wait for events: they are taken now, and the repetition doubles nothing. */
  async #refuse(origin: string, { edus }: Transaction, refusal: MatrixError): Promise<never> {
    const durable = edus.filter(isDurable)
    if (durable.length > 0) await this.#options.takeEdus(origin, durable)
    throw refusal
  }

  async #take(
    origin: string,
    txnId: string,
    { pdus, edus }: Transaction,
    full: ReadonlySet<string>,
  ): Promise<string> {
    const sorted = await this.#sort(origin, pdus, full)
    const answer = answerOf(sorted.results)
    // Keys never wait behind events: the first commit. A repetition in between doubles nothing.
    if (edus.length > 0) await this.#options.takeEdus(origin, edus)
    const rows = sorted.taken
    // What only typed and was seen may be repeated without harm.
    if (pdus.length === 0 && !edus.some(isDurable)) return answer
    const received = await this.#arrivals.add({ origin, txnId, answer, rows })
    // It came before, and was answered then.
    if ('answer' in received) return received.answer
    this.#post(origin, rows, received.ids)
    return answer
  }

  /** Which PDUs are taken in; what was refused, and why, by event ID. */
  async #sort(origin: string, pdus: readonly Json[], full: ReadonlySet<string>) {
    const roomIds = new Set(pdus.map(roomIdOf).filter((id) => id !== undefined))
    const rooms = await this.rooms.find(this.#options.sql, [...roomIds])
    const shards = new Map(Array.from(roomIds, (id) => [id, shardOf(id)]))
    const taken: Taken[] = []
    const results = new Map<string, { error?: string }>()
    for (const pdu of pdus) {
      const roomId = roomIdOf(pdu)
      const room = roomId === undefined ? undefined : rooms.get(roomId)
      if (roomId === undefined || !room) {
        // Without its room version the event has no ID, except in the oldest.
        const eventId = isObject(pdu) ? pdu['event_id'] : undefined
        if (typeof eventId === 'string') results.set(eventId, { error: 'The room is unknown' })
        continue
      }
      const judged = this.#judge(origin, roomId, room, pdu)
      const { eventId, checked, event } = judged
      let { error, json } = judged
      if (json !== undefined && full.has(roomId)) {
        // One that cites it brings it again.
        error = 'Too many events of the room are waiting'
        json = undefined
        this.#notTaken++
      }
      if (eventId !== undefined) results.set(eventId, error === undefined ? {} : { error })
      if (json === undefined) continue
      const graph = event && this.#backlog.isBehind(roomId) ? graphOf(event) : undefined
      taken.push({ shard: shards.get(roomId)!, roomId, json, checked, graph })
    }
    return { taken, results }
  }

  #judge(
    origin: string,
    roomId: string,
    room: InboundRoom,
    pdu: Json,
  ): { eventId?: string; error?: string; json?: string; checked?: CheckedPdu; event?: RoomEvent } {
    const { version } = room
    const read = readPdu(version, pdu, { roomId })
    if (typeof read === 'string') {
      const eventId = isObject(pdu) ? pdu['event_id'] : undefined
      return typeof eventId === 'string' ? { eventId, error: read } : { error: read }
    }
    const { event, text, signed, redacted } = read
    const { eventId } = event
    // The lane asks again: the list may change before the event's turn.
    if (room.acl && !room.acl.allows(origin))
      return { eventId, error: 'The server is not allowed in the room' }
    if ((room.kind === 'outside' || room.isLeft) && !this.#isOfLocalUser(event))
      return { eventId, error: 'The room is unknown' }
    // The lane need not work out again what is known of a good event.
    if (!redacted)
      return { eventId, event, json: text, checked: { version: version.id, eventId, signed } }
    const json = JSON.stringify(pdu)
    // `unsigned` counts for nothing in the event, but would be stored.
    if (json.length > 2 * maxPduBytes) return { eventId, error: 'The event is too large' }
    return { eventId, event, json }
  }

  /** Of a room that we are not in, only what becomes of our own invites and knocks is taken. */
  #isOfLocalUser(event: { type: string; stateKey: string | undefined }): boolean {
    const { type, stateKey } = event
    if (type !== 'm.room.member' || stateKey === undefined) return false
    return domainOf(stateKey) === this.#options.serverName
  }

  /** The usual case reads nothing back: the texts go to the workers with their numbers. */
  #post(origin: string, taken: readonly Taken[], ids: readonly number[]): void {
    const { rooms, log } = this.#options
    const byRoom = new Map<string, InboxEntry[]>()
    for (const [index, { roomId, json, checked }] of taken.entries()) {
      const entry = { inboxId: ids[index]!, origin, roomId, json, ...(checked && { checked }) }
      const entries = byRoom.get(roomId)
      if (entries) entries.push(entry)
      else byRoom.set(roomId, [entry])
    }
    const { maxPostedBytes, maxWorkerLagMs } = this.#limits
    for (const [roomId, entries] of byRoom) {
      const shard = shardOf(roomId)
      const bytes = entries.reduce((sum, { json }) => sum + 2 * json!.length, 0)
      // A worker that is behind is only told that there is something: it reads it when it can.
      const isBehind =
        this.#posts.bytes + bytes > maxPostedBytes || this.#posts.lateMs(shard) > maxWorkerLagMs
      const posted = isBehind ? entries.slice(0, 1).map(bare) : entries
      const taken = this.#posts.begin(shard, isBehind ? 0 : bytes)
      rooms
        .call('receive', roomId, posted)
        .catch((error: unknown) => {
          // They are in the inbox: the worker finds them when it is back.
          const reason = error instanceof MatrixError ? error.message : error
          log.debug({ roomId, reason }, 'a worker was not told of events in its inbox')
        })
        .finally(taken)
    }
  }

  #prune(): void {
    const { sql, clock, log } = this.#options
    inbound
      .removeOld(sql, clock() - keepAnswersMs)
      .catch((error: unknown) => log.warn({ err: error }, 'old answers were not removed'))
  }
}

/** By hand: an object of so many keys, all of them new, costs more than its text. */
function answerOf(results: ReadonlyMap<string, { error?: string }>): string {
  const entries = Array.from(
    results,
    ([id, what]) => `${JSON.stringify(id)}:${JSON.stringify(what)}`,
  )
  return `{"pdus":{${entries.join(',')}}}`
}

function roomIdOf(pdu: Json): string | undefined {
  const roomId = isObject(pdu) ? pdu['room_id'] : undefined
  return typeof roomId === 'string' && isRoomId(roomId) ? roomId : undefined
}

const bare = ({ inboxId, origin, roomId }: InboxEntry): InboxEntry => ({ inboxId, origin, roomId })
