import type { PolicyServer } from '#core/content/m.room.policy.ts'
import type { Incoming, Raw } from '#engine/room/inbox/incoming.ts'
import { bytesOf, HeldRows, type Reader, rowBytes } from '#engine/room/inbox/inbox-memory.ts'
import { KeyWait } from '#engine/room/inbox/key-wait.ts'
import type { Item, Lane } from '#engine/room/lane.ts'
import { Park, signatureOf } from '#engine/room/inbox/park.ts'
import { type Prepared, prepare } from '#engine/room/inbox/prepare.ts'
import { type Lacking, PutOff } from '#engine/room/inbox/put-off.ts'
import { discardOf } from '#engine/room/inbox/discard.ts'
import { Receive } from '#engine/room/decide/receive.ts'
import { isOutlier } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { Thinning } from '#engine/room/inbox/thinning.ts'
import type { Seat } from '#engine/room/turns.ts'
import * as inbox from '#store/room/inbox.ts'

/** What the inbound strand goes through: raw rows, prepared events, and work decided again. */
type Queues = { raw: Raw[]; ready: Incoming[]; again: Item[] }

/**
 * The strand of a lane for what comes from other servers. It holds a bounded number of inbox rows in
 * memory, and reads on when it has worked them off; events that lack something are parked outside.
 */
export class Inbound implements Reader {
  readonly park: Park<Incoming>
  readonly #lane: Lane
  readonly #seat: Seat
  readonly #queues: Queues = { raw: [], ready: [], again: [] }
  /** Inbox rows in memory, wherever they are: queued, parked, decided. */
  readonly #held: HeldRows
  readonly #keys: KeyWait
  readonly #putOff: PutOff
  readonly #thinning: Thinning
  /** When other servers were last asked for what parked events lack. */
  #askedAt = 0
  /** The inbox may hold rows that are not in memory. */
  #more = false
  #reading = false
  #running = false
  #stopped = false
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(lane: Lane, seat: Seat) {
    this.#lane = lane
    this.#seat = seat
    const { limits, memory } = lane.parts
    this.#held = new HeldRows(memory)
    this.#thinning = new Thinning(lane)
    this.#putOff = new PutOff(lane, (inboxIds, againMs) => {
      this.done(inboxIds)
      if (againMs !== undefined) this.#wakeIn(againMs)
      // What was put away may be what others wait for.
      else if (this.park.size > 0 && !this.#running) this.#ask()
      this.run()
    })
    this.#keys = new KeyWait(lane.parts, this.#held, this.#putOff, (raw) => {
      this.#queues.raw.unshift(...raw)
      this.run()
    })
    this.park = new Park({
      perRoom: limits.parkedPerRoom,
      perOrigin: limits.parkedPerOrigin,
      onLeave: ({ origin, text, inboxIds }) => {
        memory.unpark(origin, text.length)
        this.#held.takeBack(inboxIds)
      },
    })
  }

  get bytes(): number {
    return this.#held.bytes
  }

  get wants(): boolean {
    return this.#more && !this.#stopped
  }

  get idle(): boolean {
    return !this.#running && !this.#more && this.length === 0 && this.#timer === undefined
  }

  /** It is at work: when it has done all, and now and then before, it asks for what parked events lack. */
  get running(): boolean {
    return this.#running
  }

  get length(): number {
    return this.#queued + this.park.size + this.#keys.size
  }

  /** Those that are neither parked nor decided: so many more may be read. */
  get #undecided(): number {
    return this.#queued + this.#keys.size
  }

  get #queued(): number {
    const { raw, ready, again } = this.#queues
    return raw.length + ready.length + again.length
  }

  get #hasWork(): boolean {
    return this.#queued > 0 || this.#more || this.#putOff.hasDue
  }

  /** Parked events of which something is to be asked for, and is not there but for its commit. */
  roots() {
    const { room } = this.#lane
    return this.park.roots((id) => {
      const known = room?.uncommitted.get(id)
      return known !== undefined && !isOutlier(known)
    })
  }

  /** How it is just now, for whoever looks into it. */
  get inside() {
    return {
      keysSince: this.#keys.since,
      awaitingKeys: this.#keys.size,
      comesBack: this.#timer !== undefined,
      hasTurn: this.#seat.ready,
      spentMs: this.#seat.spentMs,
    }
  }

  /** Takes rows of the inbox: into memory, or by noting that there are some. */
  take(entries: readonly Raw[]): void {
    const { limits, memory } = this.#lane.parts
    for (const entry of entries) {
      const isFull = this.#undecided >= limits.laneEvents || !memory.fits(this, bytesOf(entry))
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

  /**
   * An event of another server is decided: what waited for it goes on, in a lane that has nothing else to
   * do after the commit. So readers see it without what comes after, which may take long to decide. What
   * waits for a parked event in turn does not wait again.
   */
  decided({ eventId, inboxIds, released }: Incoming): void {
    if (inboxIds.length === 0 || released || this.#hasWork) this.arrived(eventId)
  }

  /** An event is there: what waited for it may go on. */
  arrived(eventId: string): void {
    const ready = this.park.arrived(eventId)
    for (const event of ready) event.released = true
    const isDue = this.#putOff.arrived(eventId)
    if (ready.length > 0 || isDue) this.release(ready)
  }

  /** Rows that are committed, or dropped: another reading of the inbox will not find them. */
  done(inboxIds: readonly number[]): void {
    for (const id of inboxIds) this.#held.delete(id)
    // There was no room to read more: now there may be.
    if (this.#more && !this.#running && this.bytes < this.#lane.parts.limits.laneBytes / 2)
      this.run()
  }

  /** The same event from another server: what becomes of the first becomes of both. */
  joinParked(twin: Incoming, inboxIds: readonly number[]): void {
    twin.inboxIds.push(...inboxIds)
    if (this.park.get(twin.eventId) === twin) this.#held.setAside(inboxIds)
  }

  #park(incoming: Incoming, missing: Iterable<string>): boolean {
    const { memory, now } = this.#lane.parts
    const { origin, text } = incoming
    if (!memory.park(origin, text.length)) return false
    if (this.park.add(incoming, missing, now())) return true
    memory.unpark(origin, text.length)
    return false
  }

  /** Parks an event until these have come; if there is no room, its rows go back to the inbox. */
  parkEvent(incoming: Incoming, missing: Iterable<string>): void {
    const { parts } = this.#lane
    const twin = this.park.get(incoming.eventId)
    if (twin) this.joinParked(twin, incoming.inboxIds)
    else if (this.#park(incoming, missing)) {
      parts.counters.parkedForEvents++
      this.#held.setAside(incoming.inboxIds)
    } else {
      parts.counters.notParked++
      this.#putOff.defer(incoming.inboxIds, [{ event: incoming, missing }])
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
    this.#putOff.quarantine(inboxIds, culprit)
  }

  /** Back to the inbox, for later; with each time the pause doubles, and in the end it is dropped. */
  postpone(inboxIds: readonly number[]): void {
    this.#putOff.postpone(inboxIds)
  }

  /** Takes events out of the park, with all that wait for them: back to the inbox, for later. */
  putOff(eventIds: Iterable<string>): void {
    const lacking: Lacking[] = []
    const take = (id: string) => {
      const missing = this.park.missingOf(id)
      const event = this.park.remove(id)
      if (event) lacking.push({ event, missing })
      return event
    }
    for (const id of eventIds)
      if (take(id)) for (const { eventId } of this.park.descendants(id)) take(eventId)
    this.#putOff.postpone(
      lacking.flatMap(({ event }) => event.inboxIds),
      lacking,
    )
  }

  run(): void {
    if (this.#running || (this.#stopped && this.#queues.again.length === 0)) return
    if (!this.#hasWork) return
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
        else if (this.#putOff.hasDue) {
          yield* this.#putOff.wake()
          this.#more = true
        } else {
          const mayRead = this.#more && this.#undecided < parts.limits.laneEvents
          const bytes = mayRead ? parts.memory.begin(this) : 0
          if (bytes === 0) break
          yield* this.#readOn(bytes)
        }
        if (parts.persister.pending >= parts.limits.decidedAhead)
          yield* wait(parts.persister.below(parts.limits.decidedAhead))
        if (ready.length === 0) this.#askInTime()
        yield
      }
    } finally {
      this.#running = this.#reading = false
      this.#lane.usedAt = parts.now()
    }
    if (this.park.size > 0) this.#ask()
  }

  #ask(): void {
    const { parts } = this.#lane
    this.#askedAt = parts.now()
    parts.fetchMissing(this.#lane)
  }

  /** A lane that never comes to rest asks for what parked events lack, too. */
  #askInTime(): void {
    const { now, limits } = this.#lane.parts
    const since = Math.max(this.park.since, this.#askedAt)
    if (now() - since >= limits.askAfterMs) this.#ask()
  }

  *#prepare(batch: Raw[]): Task<void> {
    const entries = this.#keys.hold(batch)
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
    for (const [origin, wanted] of byOrigin) this.#keys.fetch(origin, wanted)
    this.#putOff.postpone(prepared.inVain)
  }

  /** The next rows of the inbox that are not in memory and whose time has come, and their room. */
  *#readOn(bytes: number): Task<void> {
    const { parts, roomId, shard } = this.#lane
    this.#reading = true
    try {
      // What comes in while this is read says again that there is more.
      this.#more = false
      const limit = parts.limits.laneEvents - this.#undecided
      const wanted = { now: parts.now(), limit, bytes, rowBytes, held: this.#held.ids }
      const { rows, more, nextAt } = yield* wait(inbox.list(parts.sql, shard, roomId, wanted))
      if (more) this.#more = true
      for (const { inbox_id: inboxId, origin, json } of rows) {
        const entry = { inboxId, origin, json }
        this.#putOff.forget(inboxId)
        if (this.#hold(entry)) this.#queues.raw.push(entry)
      }
      if (nextAt !== null) this.#wakeIn(Math.max(0, nextAt - parts.now()))
      if (more) yield* this.#thinning.look(this.#held.ids)
      // As many rooms are loaded at once as may read, and no more.
      if (rows.length > 0) yield* this.#lane.load()
    } finally {
      this.#reading = false
      parts.memory.end(this)
    }
  }

  #hold(raw: Raw): boolean {
    return raw.inboxId === undefined || this.#held.add(raw.inboxId, bytesOf(raw))
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
