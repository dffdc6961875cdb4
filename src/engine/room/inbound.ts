import type { PolicyServer } from '#core/content/m.room.policy.ts'
import type { Incoming, Raw } from '#engine/room/incoming.ts'
import type { Item, Lane } from '#engine/room/lane.ts'
import { Park, signatureOf } from '#engine/room/park.ts'
import { type Prepared, prepare } from '#engine/room/prepare.ts'
import { discardOf } from '#engine/room/discard.ts'
import { Receive } from '#engine/room/receive.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { Seat } from '#engine/room/turns.ts'
import * as inbox from '#store/room/inbox.ts'

/** What the inbound strand goes through: raw rows, prepared events, and work decided again. */
type Queues = { raw: Raw[]; ready: Incoming[]; again: Item[] }

/**
 * The strand of a lane for what comes from other servers. It holds a bounded number of inbox rows in
 * memory, and reads on when it has worked them off; events that lack something are parked outside.
 */
export class Inbound {
  readonly park: Park<Incoming>
  readonly #lane: Lane
  readonly #seat: Seat
  readonly #queues: Queues = { raw: [], ready: [], again: [] }
  /** Inbox rows in memory, wherever they are: queued, parked, decided. */
  readonly #held = new Set<number>()
  /** Rows whose keys are being asked for. */
  #awaitingKeys = 0
  /** By origin, what came behind such rows: it would lack the same key, and what those bring. */
  readonly #behind = new Map<string, Raw[]>()
  #behindCount = 0
  /** Since when keys of an origin are being asked for. */
  readonly #keysSince = new Map<string, number>()
  /** The inbox may hold rows that are not in memory. */
  #more = false
  #reading = false
  #running = false
  #stopped = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(lane: Lane, seat: Seat) {
    this.#lane = lane
    this.#seat = seat
    const { parkedPerRoom: perRoom, parkedPerOrigin: perOrigin } = lane.parts.limits
    this.park = new Park({ perRoom, perOrigin })
  }

  get idle(): boolean {
    return !this.#running && !this.#more && this.length === 0 && this.#timer === undefined
  }

  /** It is at work: when it has done all it asks for what parked events lack. */
  get running(): boolean {
    return this.#running
  }

  get length(): number {
    const { raw, ready, again } = this.#queues
    const waiting = this.park.size + this.#awaitingKeys + this.#behindCount
    return raw.length + ready.length + again.length + waiting
  }

  /** How it is just now, for whoever looks into it. */
  get inside() {
    return {
      keysSince: this.#keysSince,
      awaitingKeys: this.#awaitingKeys + this.#behindCount,
      comesBack: this.#timer !== undefined,
      hasTurn: this.#seat.ready,
      spentMs: this.#seat.spentMs,
    }
  }

  /** Takes rows of the inbox: into memory, or by noting that there are some. */
  take(entries: readonly Raw[]): void {
    const { laneEvents } = this.#lane.parts.limits
    for (const entry of entries) {
      const isFull = this.#queues.raw.length + this.#behindCount >= laneEvents
      // It comes behind what is in the inbox, and behind what is just being read from there.
      if (this.#more || this.#reading || isFull) this.#more = true
      else if (this.#hold(entry)) this.#queues.raw.push(entry)
    }
    this.run()
  }

  /** The inbox holds rows of this room, of which nothing is known here. */
  wake(): void {
    this.#more = true
    this.run()
  }

  /** Work that was decided is to be decided again, before all else. */
  again(items: Item[]): void {
    this.#queues.again.unshift(...items)
    this.run()
  }

  /** Events that lacked something and do no more, in the order of the graph. */
  release(events: readonly Incoming[]): void {
    this.#queues.ready.push(...events)
    this.run()
  }

  /** An event is decided: what waited for it may go on. */
  arrived(eventId: string): void {
    const ready = this.park.arrived(eventId)
    if (ready.length > 0) this.release(ready)
  }

  /** Rows that are committed, or dropped: another reading of the inbox will not find them. */
  done(inboxIds: readonly number[]): void {
    for (const id of inboxIds) this.#held.delete(id)
  }

  /** Parks an event until these have come; if there is no room, its rows go back to the inbox. */
  parkEvent(incoming: Incoming, missing: Iterable<string>): void {
    const { parts } = this.#lane
    const twin = this.park.get(incoming.eventId)
    if (twin) twin.inboxIds.push(...incoming.inboxIds)
    else if (this.park.add(incoming, missing, parts.now())) parts.counters.parkedForEvents++
    else {
      parts.counters.notParked++
      this.#defer(incoming.inboxIds)
    }
  }

  /** Parks an event until its room's policy server has signed it or will not; nobody is held up by it. */
  parkUnsigned(incoming: Incoming, server: PolicyServer): void {
    const { parts } = this.#lane
    const { eventId, event } = incoming
    this.parkEvent(incoming, [signatureOf(eventId)])
    if (this.park.get(eventId) !== incoming) return
    parts.counters.parkedForPolicy++
    void parts.policies.signLater(event, server).then((outcome) => {
      // With the rows of those that came meanwhile.
      const parked = this.park.remove(eventId)
      if (!parked) return
      const { reason } = { reason: undefined, ...outcome }
      const more = reason === undefined ? outcome : { unsigned: { server, reason } }
      this.release([{ ...parked, ...more }])
    })
  }

  /** Drops a row for what is in it. */
  drop(raw: Raw, reason: string): void {
    const { parts, roomId } = this.#lane
    parts.counters.dropped++
    parts.onDrop(roomId, raw.origin, reason)
    if (raw.inboxId !== undefined) this.discard([raw.inboxId])
  }

  /** Rows that need not be persisted: the next commit takes them out of the inbox. */
  discard(inboxIds: readonly number[]): void {
    if (inboxIds.length > 0) this.#lane.parts.persister.add(discardOf(this.#lane, inboxIds))
  }

  /** Rows of a room that we do not know: they wait if a join is under way, else they go. */
  *unknownRoom(batch: readonly Raw[]): Task<void> {
    const { parts, roomId } = this.#lane
    if (parts.isJoining(roomId)) {
      for (const { inboxId } of batch) if (inboxId !== undefined) this.#held.delete(inboxId)
      this.#more = false
      return
    }
    for (const raw of batch) this.drop(raw, 'the room is not known')
    yield
  }

  /** Rows that fail even alone go to the quarantine, with the error. */
  quarantine(inboxIds: readonly number[], culprit: Error): void {
    if (inboxIds.length === 0) return
    const { parts, shard } = this.#lane
    inbox
      .quarantine(parts.sql, shard, inboxIds, String(culprit), parts.now())
      .then(() => this.done(inboxIds))
      .catch((error: unknown) => parts.onError(error, 'an inbox row could not be quarantined'))
  }

  /** Back to the inbox, for later; with each time the pause doubles, and in the end it is dropped. */
  postpone(inboxIds: readonly number[]): void {
    if (inboxIds.length === 0) return
    const { parts, shard } = this.#lane
    const { attempts, retryMs } = parts.limits
    parts.counters.postponed += inboxIds.length
    const options = { now: parts.now(), pauseMs: retryMs, attempts }
    const postponing = inbox.postpone(parts.sql, shard, inboxIds, options).then((dropped) => {
      parts.counters.givenUp += dropped
    })
    this.#putBack(inboxIds, postponing)
  }

  /** The same for lack of room here, which is no attempt: for that alone nothing is dropped. */
  #defer(inboxIds: readonly number[]): void {
    if (inboxIds.length === 0) return
    const { parts, shard } = this.#lane
    const until = parts.now() + parts.limits.retryMs
    this.#putBack(inboxIds, inbox.defer(parts.sql, shard, inboxIds, until))
  }

  #putBack(inboxIds: readonly number[], writing: Promise<void>): void {
    const { parts } = this.#lane
    writing
      .then(() => {
        this.done(inboxIds)
        this.#wakeIn(parts.limits.retryMs)
      })
      .catch((error: unknown) => {
        parts.onError(error, 'an inbox row could not be postponed')
        // It is still there, and is read again.
        this.done(inboxIds)
        this.#wakeIn(parts.limits.inboxPollMs)
      })
  }

  /** Takes events out of the park, with all that wait for them: back to the inbox, for later. */
  putOff(eventIds: Iterable<string>): void {
    const inboxIds: number[] = []
    for (const id of eventIds) {
      const event = this.park.remove(id)
      if (!event) continue
      inboxIds.push(...event.inboxIds)
      for (const { eventId } of this.park.descendants(id))
        inboxIds.push(...(this.park.remove(eventId)?.inboxIds ?? []))
    }
    this.postpone(inboxIds)
  }

  run(): void {
    const { raw, ready, again } = this.#queues
    if (this.#running || (this.#stopped && again.length === 0)) return
    if (raw.length + ready.length + again.length === 0 && !this.#more) return
    this.#running = true
    this.#seat.run(this.#drain()).catch((error: unknown) => {
      this.#lane.parts.onError(error, 'a lane failed')
      // Nothing is lost: the rows are in the inbox. A pause, so that it cannot fail in a ring.
      this.#forget()
      this.#wakeIn(this.#lane.parts.limits.inboxPollMs)
    })
  }

  /** Takes nothing more up: what waits stays in the inbox. Work that others wait for is still done. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#stopped = true
  }

  *#drain(): Task<void> {
    const { raw, ready, again } = this.#queues
    const { parts } = this.#lane
    try {
      for (;;) {
        const item = again.shift()
        if (item) yield* this.#lane.decide(item)
        else if (this.#stopped) break
        else if (ready.length > 0)
          yield* this.#lane.decide({ work: new Receive(ready.shift()!), alone: false })
        else if (raw.length > 0) yield* this.#prepare(raw.splice(0, parts.limits.prepare))
        else if (this.#more && this.#behindCount < parts.limits.laneEvents) {
          this.#reading = true
          yield* this.#readOn()
          this.#reading = false
        } else break
        if (parts.persister.pending >= parts.limits.decidedAhead)
          yield* wait(parts.persister.below(parts.limits.decidedAhead))
        yield
      }
    } finally {
      this.#running = this.#reading = false
      this.#lane.usedAt = parts.now()
    }
    if (this.park.size > 0) parts.fetchMissing(this.#lane)
  }

  *#prepare(batch: Raw[]): Task<void> {
    const entries = this.#behind.size === 0 ? batch : batch.filter((raw) => !this.#holdBehind(raw))
    let prepared: Prepared
    try {
      prepared = yield* prepare(this.#lane, entries)
    } catch (error) {
      // They are in no queue any more: the inbox is read again, and must give them back.
      for (const { inboxId } of entries) if (inboxId !== undefined) this.#held.delete(inboxId)
      throw error
    }
    this.#queues.ready.push(...prepared.ready)
    const byOrigin = Map.groupBy(prepared.wantKeys, ({ raw }) => raw.origin)
    for (const [origin, wanted] of byOrigin) this.#fetchKeys(origin, wanted)
  }

  #holdBehind(raw: Raw): boolean {
    const behind = raw.lastTry ? undefined : this.#behind.get(raw.origin)
    if (!behind) return false
    behind.push(raw)
    this.#behindCount++
    return true
  }

  /** One server's keys: no other waits for them. */
  #fetchKeys(origin: string, wanted: Prepared['wantKeys']): void {
    const { parts } = this.#lane
    const entries = wanted.map(({ raw }) => raw)
    this.#awaitingKeys += entries.length
    if (!this.#behind.has(origin)) this.#behind.set(origin, [])
    if (!this.#keysSince.has(origin)) this.#keysSince.set(origin, parts.now())
    parts.counters.parkedForKeys += entries.length
    parts.keys
      .fetch(
        wanted.flatMap(({ keys }) => keys),
        parts.limits.keysMs,
      )
      .catch((error: unknown) => parts.onError(error, 'keys could not be asked for'))
      .finally(() => {
        const behind = this.#behind.get(origin) ?? []
        this.#behind.delete(origin)
        this.#keysSince.delete(origin)
        this.#behindCount -= behind.length
        this.#awaitingKeys -= entries.length
        const again = entries.map((entry) => ({ ...entry, lastTry: true }))
        this.#queues.raw.unshift(...again, ...behind)
        this.run()
      })
  }

  /** The next rows of the inbox that are not in memory and whose time has come. */
  *#readOn(): Task<void> {
    const { parts, roomId, shard } = this.#lane
    const { laneEvents } = parts.limits
    const limit = laneEvents + this.#held.size
    // What comes in while this is read says again that there is more.
    this.#more = false
    const { rows, nextAt } = yield* wait(inbox.list(parts.sql, shard, roomId, parts.now(), limit))
    const fresh = rows.filter(({ inbox_id: id }) => !this.#held.has(id))
    // As many as were asked for: there may be others behind them.
    if (rows.length === limit || fresh.length > laneEvents) this.#more = true
    for (const { inbox_id: inboxId, origin, json } of fresh.slice(0, laneEvents)) {
      const entry = { inboxId, origin, json }
      if (this.#hold(entry)) this.#queues.raw.push(entry)
    }
    if (nextAt !== null) this.#wakeIn(Math.max(0, nextAt - parts.now()))
  }

  #hold({ inboxId }: Raw): boolean {
    if (inboxId === undefined) return true
    if (this.#held.has(inboxId)) return false
    this.#held.add(inboxId)
    return true
  }

  #forget(): void {
    const { raw, ready } = this.#queues
    for (const { inboxId } of raw.splice(0)) if (inboxId !== undefined) this.#held.delete(inboxId)
    for (const { inboxIds } of ready.splice(0)) this.done(inboxIds)
  }

  #wakeIn(ms: number): void {
    if (this.#stopped) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.wake()
    }, ms)
  }
}
