import { MatrixError, unavailable } from '#core/error.ts'
import { shardOf } from '#core/shard.ts'
import { resolve } from '#core/state-res/resolve.ts'
import type { Signing } from '#core/event/build.ts'
import type { Pool } from '#store/db.ts'
import * as inbox from '#store/room/inbox.ts'
import { Interner } from '#store/room/intern.ts'
import * as localTxns from '#store/room/local-txns.ts'
import { ServerSets } from '#store/room/server-sets.ts'
import { type Shard, takeOver } from '#store/room/shards.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { type Counters, newCounters, newTimes } from '#engine/room/counters.ts'
import { Create } from '#engine/room/local/create.ts'
import { EventCache } from '#engine/room/events.ts'
import { passHolds } from '#engine/room/hold.ts'
import { Housekeeping } from '#engine/room/housekeeping.ts'
import { InboxMemory } from '#engine/room/inbox/inbox-memory.ts'
import { KeyCache } from '#engine/room/keys.ts'
import { answerable, Lane } from '#engine/room/lane.ts'
import { type Limits, limitsWith } from '#engine/room/limits.ts'
import { load } from '#engine/room/load.ts'
import { MissingFetcher } from '#engine/room/inbox/missing.ts'
import type { Parts } from '#engine/room/parts.ts'
import { PolicyServers } from '#engine/room/policy/policy-servers.ts'
import { Persister, type PersistOptions } from '#engine/room/commit/persist.ts'
import { Send } from '#engine/room/local/send.ts'
import { States } from '#engine/room/states.ts'
import { Turns } from '#engine/room/turns.ts'
import { backfill } from '#engine/room/inbox/backfill.ts'
import { countersOf } from '#engine/room/engine-counters.ts'
import { Imports } from '#engine/room/import/imports.ts'
import { Yielding } from '#engine/room/import/yielding.ts'
import { sendBatch } from '#engine/room/batch-send/send-batch.ts'
import { knock, takeKnock } from '#engine/room/member/knock.ts'
import { makeMember } from '#engine/room/member/make-member.ts'
import { changeMembership, join } from '#engine/room/member/members.ts'
import { receiveInvite } from '#engine/room/member/receive-invite.ts'
import { dropRemains, removeRoom } from '#engine/room/local/remove-room.ts'
import { RemoteJoins } from '#engine/room/member/remote-joins.ts'
import { performLocal, takeMember } from '#engine/room/member/take-member.ts'
import type { Task } from '#engine/room/task.ts'
import type { Handlers } from '#engine/worker/channel.ts'
import type { ImportStep } from '#engine/worker/import-steps.ts'
import type {
  BatchSent,
  BatchWish,
  CreateRoom,
  Federation,
  InboxEntry,
  JoinRoom,
  Landed,
  LocalEvent,
  MembershipChange,
  RemainsStep,
  RoomCalls,
  Signal,
} from '#engine/worker/protocol.ts'

export type EngineOptions = {
  pool: Pool
  shards: readonly number[]
  owner: string
  signing: Signing
  federation: Federation
  onSignal: (signal: Signal) => void
  onError: (error: unknown, what: string) => void
  onDrop?: Parts['onDrop']
  onThin?: Parts['onThin']
  /** This worker must not write any more: end it. */
  onFatal: (error: Error) => void
  now?: () => number
  limits?: { [name: string]: number }
  commit?: NonNullable<PersistOptions['commit']>
  resolve?: Parts['resolve']
  history?: boolean
}

/** What a lane without its room takes in memory, about. */
const laneBytes = 3_000
/** After so many new lanes those are forgotten that nobody needs. */
const tidyAfterLanes = 1_000
const resumeEveryMs = 50

/**
 * The rooms of some shards: their only writer. It lives in a room worker, or in the calling thread
 * behind the same interface.
 */
export class RoomEngine implements Handlers<RoomCalls> {
  readonly parts: Parts
  readonly lanes = new Map<string, Lane>()
  readonly joins: RemoteJoins
  readonly imports: Imports
  readonly housekeeping: Housekeeping
  /** Local sends under way, by transaction: one that comes twice at once is made once. */
  readonly #txns = new Map<string, Promise<Landed>>()
  readonly #fetcher = new MissingFetcher()
  readonly #timers: ReturnType<typeof setInterval>[] = []
  /** Rooms with something in the inbox, whose lanes have yet to go on after the start. */
  readonly #unresumed = new Set<string>()
  #newLanes = 0
  #stopping = false

  private constructor(options: EngineOptions, shards: ReadonlyMap<number, Shard>) {
    const { pool: sql, signing, federation, onError } = options
    const now = options.now ?? Date.now
    const limits: Limits = limitsWith(options.limits ?? {})
    const counters: Counters = newCounters()
    const turns = new Turns({ ...limits, onRest: () => persister.settle() })
    const persister: Persister = new Persister({
      pool: sql,
      shards,
      onCommitted: (positions, sends) => options.onSignal({ s: 'rooms-at', positions, sends }),
      onFatal: options.onFatal,
      onError,
      moreComes: () => turns.isBusy,
      ...(options.commit && { commit: options.commit }),
    })
    this.parts = {
      sql,
      signing,
      federation,
      limits,
      counters,
      memory: new InboxMemory(limits),
      times: newTimes(),
      turns,
      persister,
      shards,
      interner: new Interner(sql),
      serverSets: new ServerSets(sql),
      events: new EventCache(sql, limits.roomBytes / 2),
      states: new States(sql, new SnapshotCache(limits.roomBytes / 4)),
      keys: new KeyCache(federation, signing, now),
      policies: new PolicyServers({ federation, limits, now }),
      yielding: new Yielding(),
      resolve: options.resolve ?? resolve,
      history: options.history ?? false,
      now,
      onError,
      onDrop: options.onDrop ?? (() => {}),
      onThin: options.onThin ?? (() => {}),
      isJoining: (roomId) => this.joins.has(roomId),
      loadRoom: (roomId, shard) => this.parts.turns.seat(true).run(load(this.parts, roomId, shard)),
      fetchMissing: (lane) => this.#fetcher.start(lane),
    }
    this.housekeeping = new Housekeeping(this.parts, (roomId) => this.lane(roomId))
    this.joins = new RemoteJoins(this.parts, this.housekeeping)
    this.imports = new Imports(this.parts, {
      send: (roomId, event) => this.send(roomId, event),
      laneOf: (roomId) => this.lane(roomId),
    })
    this.#timers.push(setInterval(() => this.#tidy(), 10_000))
    this.#timers.push(setInterval(() => this.imports.resume(), limits.tidyMs))
    for (const timer of this.#timers) timer.unref()
  }

  /** Takes the shards over, and resumes every lane that has something in the inbox. */
  static async start(options: EngineOptions): Promise<RoomEngine> {
    const shards = await takeOver(options.pool, options.shards, options.owner)
    const engine = new RoomEngine(options, new Map(shards.map((shard) => [shard.shard, shard])))
    await engine.joins.resume((roomId) => engine.lane(roomId))
    await inbox.endPauses(options.pool, options.shards, engine.parts.now())
    const waiting = await inbox.roomsWaiting(options.pool, options.shards)
    engine.#resume(waiting.map(({ room_id: roomId }) => roomId))
    engine.housekeeping.start()
    engine.imports.resume()
    return engine
  }

  /**
   * Lets every lane go on that has something in the inbox. Those of very many rooms come one after the
   * other, so that they are not all in memory at once.
   */
  #resume(roomIds: readonly string[]): void {
    const { memory, limits } = this.parts
    for (const roomId of roomIds) this.#unresumed.add(roomId)
    const goOn = () => {
      let room = limits.resumeAhead - memory.waiting
      for (const roomId of this.#unresumed) {
        if (this.#stopping || room-- <= 0) break
        this.lane(roomId).inbound.wake()
        this.#unresumed.delete(roomId)
      }
      if (this.#stopping || this.#unresumed.size === 0) clearInterval(timer)
    }
    const timer = setInterval(() => goOn(), resumeEveryMs)
    this.#timers.push(timer)
    goOn()
  }

  /** The lane of a room of ours. */
  lane(roomId: string): Lane {
    let lane = this.lanes.get(roomId)
    if (!lane) {
      lane = new Lane(this.parts, roomId, this.#shardOf(roomId))
      // Who asks for rooms of all kinds makes lanes faster than they are tidied up.
      if (++this.#newLanes >= tidyAfterLanes) this.#tidy()
      this.lanes.set(roomId, lane)
    }
    lane.usedAt = this.parts.now()
    return lane
  }

  async send(roomId: string, event: LocalEvent): Promise<Landed> {
    this.#open()
    if (!event.txn) return this.#perform(this.lane(roomId), event)
    const { userId, deviceId, path, txnId } = event.txn
    const key = JSON.stringify([userId, deviceId, path, txnId])
    const underWay = this.#txns.get(key)
    if (underWay) return underWay
    const { txn } = event
    const lane = this.lane(roomId)
    const sending = lane.keep(() => this.#sendOnce(lane, event, txn))
    this.#txns.set(key, sending)
    try {
      return await sending
    } finally {
      this.#txns.delete(key)
    }
  }

  async create(roomId: string, request: CreateRoom): Promise<Landed> {
    this.#open()
    return this.lane(roomId).perform((answer) => new Create(answer, request))
  }

  async batchSend(roomId: string, batch: BatchWish): Promise<BatchSent> {
    return this.#keep(roomId, (lane) => sendBatch(lane, batch))
  }

  async receive(roomId: string, entries: InboxEntry[]): Promise<null> {
    this.#open()
    const { inbound } = this.lane(roomId)
    const here = entries.flatMap(({ inboxId, origin, json, checked }) =>
      json === undefined ? [] : { inboxId, origin, json, ...(checked && { checked }) },
    )
    // What is in the inbox came before.
    if (here.length < entries.length || this.#unresumed.delete(roomId)) inbound.wake()
    inbound.take(here)
    return null
  }

  async join(roomId: string, request: JoinRoom): Promise<Landed> {
    return this.#keep(roomId, (lane) => join(lane, this.joins, request))
  }

  async changeMembership(roomId: string, request: MembershipChange): Promise<Landed> {
    return this.#keep(roomId, (lane) => changeMembership(lane, request))
  }

  async makeJoin(roomId: string, userId: string, versions: string[], origin: string) {
    this.#open()
    return makeMember(this.lane(roomId), { origin, userId, membership: 'join', versions })
  }

  async makeLeave(roomId: string, userId: string, origin: string) {
    this.#open()
    return makeMember(this.lane(roomId), { origin, userId, membership: 'leave' })
  }

  async sendJoin(roomId: string, origin: string, pdu: string) {
    this.#open()
    return takeMember(this.lane(roomId), { origin, pdu, membership: 'join' })
  }

  async knock(roomId: string, request: JoinRoom): Promise<Landed> {
    return this.#keep(roomId, (lane) => knock(lane, request))
  }

  async makeKnock(roomId: string, userId: string, versions: string[], origin: string) {
    this.#open()
    return makeMember(this.lane(roomId), { origin, userId, membership: 'knock', versions })
  }

  async sendKnock(roomId: string, origin: string, pdu: string) {
    this.#open()
    return takeKnock(this.lane(roomId), { origin, pdu })
  }

  async sendLeave(roomId: string, origin: string, pdu: string): Promise<Landed> {
    this.#open()
    return takeMember(this.lane(roomId), { origin, pdu, membership: 'leave' })
  }

  async receiveInvite(
    roomId: string,
    version: string,
    pdu: string,
    state: string[],
  ): Promise<Landed> {
    return this.#keep(roomId, (lane) => receiveInvite(lane, { version, pdu, state }))
  }

  async backfill(roomId: string, before: string[], limit: number): Promise<number> {
    return this.#keep(roomId, (lane) => backfill(lane, before, limit))
  }

  async removeRoom(roomId: string, force: boolean): Promise<number[]> {
    // What a batch writes behind its removal would stay for ever.
    return this.#keep(roomId, (lane) => this.imports.between(roomId, () => removeRoom(lane, force)))
  }

  async dropRemains(
    roomId: string,
    roomNid: number,
    step: RemainsStep,
  ): Promise<RemainsStep | null> {
    return this.#keep(roomId, (lane) => dropRemains(lane, roomNid, step))
  }

  async importHistory(roomId: string, step: ImportStep): Promise<string> {
    return this.#keep(roomId, (lane) => this.imports.take(lane, step))
  }

  /** What is being looked for that parked events of a lane lack. */
  searchesOf = (lane: Lane) => this.#fetcher.searchesOf(lane)

  /** Counters, and gauges of the moment. */
  counters(): { [name: string]: number } {
    return countersOf(this.parts, this.lanes)
  }

  /** Takes nothing more, commits what is decided. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const timer of this.#timers) clearInterval(timer)
    this.joins.stop()
    for (const lane of this.lanes.values()) {
      lane.inbound.stop()
      lane.ties.stop()
    }
    this.#fetcher.stop()
    this.parts.policies.stop()
    await Promise.all([this.housekeeping.stop(), this.imports.stop()])
    await this.parts.persister.idle()
  }

  #task<T>(task: Task<T>): Promise<T> {
    return this.parts.turns.seat(true).run(task)
  }

  async #keep<T>(roomId: string, run: (lane: Lane) => Promise<T>): Promise<T> {
    this.#open()
    const lane = this.lane(roomId)
    return lane.keep(() => run(lane))
  }

  #open(): void {
    if (this.#stopping) throw unavailable('The server is stopping')
  }

  #shardOf(roomId: string): number {
    const shard = shardOf(roomId)
    if (!this.parts.shards.has(shard))
      throw new MatrixError(500, 'M_UNKNOWN', `Shard ${shard} is not of this worker`)
    return shard
  }

  async #perform(lane: Lane, event: LocalEvent): Promise<Landed> {
    await passHolds(lane, event.stateKey !== undefined)
    return performLocal(lane, (answer) => new Send(answer, event), event.txn)
  }

  /** A retried send answers with the event of the first one. */
  async #sendOnce(
    lane: Lane,
    event: LocalEvent,
    txn: NonNullable<LocalEvent['txn']>,
  ): Promise<Landed> {
    const before = await localTxns.find(this.parts.sql, lane.shard, txn).catch((error: unknown) => {
      throw answerable(error)
    })
    if (!before) return this.#perform(lane, event)
    const room = await this.#task(lane.load())
    if (!room) throw new Error(`${lane.roomId} is gone`)
    return {
      eventId: unpackEventId(before.event_id, room.version),
      shard: lane.shard,
      position: before.position ?? 0,
    }
  }

  /** Forgets the rooms that were used least, above a number of bytes. */
  #tidy(): void {
    this.#newLanes = 0
    const idle = [...this.lanes].filter(([, lane]) => lane.idle)
    idle.sort(([, a], [, b]) => a.usedAt - b.usedAt)
    let bytes = 0
    for (const lane of this.lanes.values()) bytes += laneBytes + (lane.room?.bytes ?? 0)
    for (const [roomId, lane] of idle) {
      if (bytes <= this.parts.limits.roomBytes / 4) break
      bytes -= laneBytes + (lane.room?.bytes ?? 0)
      // Nothing may come back to it: the room gets another lane.
      lane.ties.stop()
      this.lanes.delete(roomId)
    }
  }
}
