import { LRUCache } from 'lru-cache'
import { limitExceeded, MatrixError } from '#core/error.ts'
import { maxPduBytes } from '#core/event/check.ts'
import { readPdu } from '#core/event/receive.ts'
import { domainOf, isRoomId } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import { Arrivals } from '#engine/federation/arrivals.ts'
import { type InboundRoom, InboundRooms } from '#engine/federation/inbound-rooms.ts'
import { LoopLag } from '#engine/federation/loop-lag.ts'
import type { CheckedPdu, InboxEntry, Rooms } from '#engine/worker/protocol.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as inbound from '#store/federation/inbound.ts'
import type { NewInboxRow } from '#store/room/inbox.ts'

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

export type IntakeLimits = {
  /** PDUs of one origin in the long run, and at once. */
  pdusPerSecond: number
  pdusAtOnce: number
  /** Beyond this lateness of the event loop nothing is taken in. */
  maxLagMs: number
  /** PDUs of one origin that may wait in the inbox. */
  maxBacklog: number
  /** Transactions in hand at once, of all origins: each may hold megabytes. */
  maxInFlight: number
}

const defaultLimits: IntakeLimits = {
  pdusPerSecond: 2_000,
  pdusAtOnce: 20_000,
  maxLagMs: 250,
  maxBacklog: 50_000,
  maxInFlight: 200,
}

export type Transaction = { pdus: readonly Json[]; edus: readonly Json[] }

type Taken = NewInboxRow & { checked: CheckedPdu | undefined }

type Bucket = { tokens: number; at: number }

const backlogEveryMs = 2_000
const maxCounted = 500_000
/** Statistics are lost in a crash: so often the inbox is counted whatever they say. */
const surelyEveryMs = 60_000
const keepAnswersMs = 3 * 86_400_000
const pruneEveryMs = 3_600_000

/**
 * Takes transactions of other servers in: what they bring is durable before they are answered, and
 * no room's work stands in between.
 *
 * Spec: server-server-api/#put_matrixfederationv1sendtxnid
 */
export class Intake {
  readonly rooms = new InboundRooms()
  readonly #options: IntakeOptions
  readonly #limits: IntakeLimits
  readonly #lag = new LoopLag()
  readonly #arrivals: Arrivals
  readonly #inFlight = new Map<string, { txnId: string; answer: Promise<string> }>()
  readonly #buckets = new LRUCache<string, Bucket>({ max: 20_000 })
  #backlog = new Map<string, number>()
  #countedAt = -Infinity
  #surelyAt = -Infinity
  #counting = false
  readonly #refused: Record<string, number> = {
    in_hand: 0,
    all_in_hand: 0,
    lag: 0,
    backlog: 0,
    rate: 0,
  }
  readonly #pruning: ReturnType<typeof setInterval>

  constructor(options: IntakeOptions) {
    this.#options = options
    this.#limits = { ...defaultLimits, ...options.limits }
    this.#arrivals = new Arrivals(options.sql, options.clock)
    this.#pruning = setInterval(() => this.#prune(), pruneEveryMs)
    this.#pruning.unref()
  }

  stop(): void {
    this.#lag.stop()
    clearInterval(this.#pruning)
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

  /** The answer to a transaction, JSON text. Refuses with a time to wait what is too much. */
  async take(origin: string, txnId: string, transaction: Transaction): Promise<string> {
    const current = this.#inFlight.get(origin)
    // An impatient sender that repeats itself gets the same answer, when there is one.
    if (current?.txnId === txnId) return current.answer
    if (current) throw this.#putOff('in_hand', 500)
    if (this.#inFlight.size >= this.#limits.maxInFlight) throw this.#putOff('all_in_hand', 1_000)
    if (this.isShedding) throw this.#putOff('lag', 1_000 + Math.ceil(1_000 * Math.random()))
    const refusal = this.#refusalOf(origin, transaction.pdus.length)
    const taking = refusal
      ? this.#refuse(origin, transaction, refusal)
      : this.#take(origin, txnId, transaction)
    const answer = taking.finally(() => this.#inFlight.delete(origin))
    this.#inFlight.set(origin, { txnId, answer })
    return answer
  }

  /** Why a server has to wait: it sends more events than are worked off. */
  #refusalOf(origin: string, pdus: number): MatrixError | undefined {
    const { maxBacklog, pdusPerSecond, pdusAtOnce } = this.#limits
    this.#countBacklog()
    if ((this.#backlog.get(origin) ?? 0) > maxBacklog) return this.#putOff('backlog', 5_000)

    const now = performance.now()
    const bucket = this.#buckets.get(origin) ?? { tokens: pdusAtOnce, at: now }
    const gained = ((now - bucket.at) / 1000) * pdusPerSecond
    const tokens = Math.min(pdusAtOnce, bucket.tokens + gained)
    // A debt is paid before the next transaction.
    this.#buckets.set(origin, { tokens: tokens < 0 ? tokens : tokens - pdus, at: now })
    if (tokens >= 0) return undefined
    return this.#putOff('rate', Math.ceil((-tokens / pdusPerSecond) * 1000))
  }

  #putOff(reason: string, waitMs: number): MatrixError {
    this.#refused[reason]!++
    return limitExceeded(waitMs)
  }

  /** Keys do not wait for events: they are taken now, and the repetition doubles nothing. */
  async #refuse(origin: string, { edus }: Transaction, refusal: MatrixError): Promise<string> {
    const durable = edus.filter(isDurable)
    if (durable.length > 0) await this.#options.takeEdus(origin, durable)
    throw refusal
  }

  async #take(origin: string, txnId: string, { pdus, edus }: Transaction): Promise<string> {
    const sorted = await this.#sort(origin, pdus)
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
  async #sort(origin: string, pdus: readonly Json[]) {
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
      const { eventId, error, json, checked } = this.#judge(origin, roomId, room, pdu)
      if (eventId !== undefined) results.set(eventId, error === undefined ? {} : { error })
      if (json !== undefined) taken.push({ shard: shards.get(roomId)!, roomId, json, checked })
    }
    return { taken, results }
  }

  #judge(
    origin: string,
    roomId: string,
    room: InboundRoom,
    pdu: Json,
  ): { eventId?: string; error?: string; json?: string; checked?: CheckedPdu } {
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
    if (room.kind === 'outside' && !this.#isOfLocalUser(event))
      return { eventId, error: 'The room is unknown' }
    // The lane need not work out again what is known of a good event.
    if (!redacted)
      return {
        eventId,
        json: text,
        checked: { version: version.id, eventId, signed },
      }
    const json = JSON.stringify(pdu)
    // `unsigned` counts for nothing in the event, but would be stored.
    if (json.length > 2 * maxPduBytes) return { eventId, error: 'The event is too large' }
    return { eventId, json }
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
    for (const [roomId, entries] of byRoom)
      rooms.call('receive', roomId, entries).catch((error: unknown) => {
        // They are in the inbox: the worker finds them when it is back.
        const reason = error instanceof MatrixError ? error.message : error
        log.debug({ roomId, reason }, 'a worker was not told of events in its inbox')
      })
  }

  /** Counts in the background, while there is traffic. */
  #countBacklog(): void {
    const now = performance.now()
    if (this.#counting || now - this.#countedAt < backlogEveryMs) return
    this.#counting = true
    this.#countedAt = now
    const isDue = now - this.#surelyAt >= surelyEveryMs
    if (isDue) this.#surelyAt = now
    const { maxBacklog } = this.#limits
    const last = this.#backlog.values().reduce((sum, rows) => sum + rows, 0)
    const least = isDue || last >= maxBacklog ? 0 : maxBacklog
    inbound
      .backlog(this.#options.sql, { least, most: maxCounted })
      .then((rows) => {
        this.#backlog = new Map(rows.map((row) => [row.origin, row.rows]))
      })
      .catch((error: unknown) =>
        this.#options.log.warn({ err: error }, 'the inbox was not counted'),
      )
      .finally(() => {
        this.#counting = false
      })
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

const durableEdus = new Set(['m.direct_to_device', 'm.device_list_update', 'm.signing_key_update'])

const isDurable = (edu: Json): edu is JsonObject =>
  isObject(edu) && typeof edu['edu_type'] === 'string' && durableEdus.has(edu['edu_type'])
