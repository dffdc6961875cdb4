import type { Lane } from '#engine/room/lane.ts'
import { Park, type Parkable } from '#engine/room/inbox/park.ts'
import { type Task, wait } from '#engine/room/task.ts'
import * as inbox from '#store/room/inbox.ts'

/** An event that goes back to the inbox, with what it lacks. */
export type Lacking = Readonly<{
  event: Parkable & { readonly inboxIds: readonly number[] }
  missing: Iterable<string>
}>

/** Told when rows are written, and after how long the inbox is to be read again for them. */
type OnPut = (inboxIds: readonly number[], againMs: number | undefined) => void
type Remembered = Parkable & { inboxIds: number[] }

/**
 * Rows of one lane that went back to the inbox, for later. What their events lack is remembered, up to a
 * bound: when it comes they are read again at once, with all that waits for them in turn, whatever their
 * pause. Those beyond the bound wait until their time has come.
 */
export class PutOff {
  readonly #lane: Lane
  readonly #onPut: OnPut
  readonly #graph: Park<Remembered>
  readonly #eventOf = new Map<number, string>()
  /** Written just now: nobody else may change them until that is done. */
  readonly #writing = new Set<number>()
  #due: number[] = []

  constructor(lane: Lane, onPut: OnPut) {
    this.#lane = lane
    this.#onPut = onPut
    const { putOffPerRoom: perRoom } = lane.parts.limits
    // One server alone does not fill it.
    this.#graph = new Park({ perRoom, perOrigin: Math.ceil(perRoom / 2) })
  }

  /** Rows are to be read again, and can be. */
  get hasDue(): boolean {
    return this.#due.some((id) => !this.#writing.has(id))
  }

  /** Each time the pause doubles, and in the end the row is dropped. */
  postpone(inboxIds: readonly number[], events: readonly Lacking[] = []): void {
    const { parts, shard } = this.#lane
    const { attempts, retryMs: pauseMs } = parts.limits
    parts.counters.postponed += inboxIds.length
    const options = { now: parts.now(), pauseMs, attempts }
    this.#put(inboxIds, events, () => inbox.postpone(parts.sql, shard, inboxIds, options))
  }

  /** For lack of room here, which is no attempt: for that alone nothing is dropped until it is old. */
  defer(inboxIds: readonly number[], events: readonly Lacking[] = []): void {
    const { parts, shard } = this.#lane
    const { retryMs: pauseMs, keepDeferredMs: keepMs } = parts.limits
    const options = { now: parts.now(), pauseMs, keepMs }
    this.#put(inboxIds, events, () => inbox.defer(parts.sql, shard, inboxIds, options))
  }

  /** The same for what will be here in a moment, or can be found out to be had in vain: however old, it stays. */
  pause(inboxIds: readonly number[], events: readonly Lacking[] = []): void {
    const { parts, shard } = this.#lane
    const notBefore = parts.now() + parts.limits.retryMs
    this.#put(inboxIds, events, () => inbox.pause(parts.sql, shard, inboxIds, notBefore))
  }

  /** Rows that fail even alone are put away for good, with the error. */
  quarantine(inboxIds: readonly number[], culprit: Error): void {
    if (inboxIds.length === 0) return
    const { sql, now, onError, limits } = this.#lane.parts
    inbox.quarantine(sql, this.#lane.shard, inboxIds, String(culprit), now()).then(
      () => this.#onPut(inboxIds, undefined),
      (error: unknown) => {
        onError(error, 'an inbox row could not be quarantined')
        this.#onPut(inboxIds, limits.inboxPollMs)
      },
    )
  }

  #put(
    inboxIds: readonly number[],
    events: readonly Lacking[],
    write: () => Promise<number[]>,
  ): void {
    if (inboxIds.length === 0) return
    const { limits, counters, onError } = this.#lane.parts
    for (const id of inboxIds) this.#writing.add(id)
    for (const lacking of events) this.#remember(lacking)
    const end = (againMs: number) => {
      for (const id of inboxIds) this.#writing.delete(id)
      this.#onPut(inboxIds, againMs)
    }
    write().then(
      (dropped) => {
        counters.givenUp += dropped.length
        for (const id of dropped) this.forget(id)
        end(limits.retryMs)
      },
      (error: unknown) => {
        onError(error, 'an inbox row could not be put off')
        // It is still there, and is read again.
        end(limits.inboxPollMs)
      },
    )
  }

  #remember({ event, missing }: Lacking): void {
    const { eventId, origin, inboxIds } = event
    const { memory, limits, now } = this.#lane.parts
    const rows = inboxIds.filter((id) => !this.#eventOf.has(id))
    if (rows.length === 0 || this.#eventOf.size + rows.length > limits.putOffPerRoom) return
    if (!memory.remember(rows.length)) return
    const twin = this.#graph.get(eventId)
    if (twin) twin.inboxIds.push(...rows)
    else if (!this.#graph.add({ eventId, origin, inboxIds: rows }, missing, now())) {
      memory.unremember(rows.length)
      return
    }
    for (const id of rows) this.#eventOf.set(id, eventId)
  }

  /** A row is read again, or is no more. */
  forget(inboxId: number): void {
    const eventId = this.#eventOf.get(inboxId)
    const event = eventId === undefined ? undefined : this.#graph.remove(eventId)
    if (event) this.#drop(event)
  }

  #drop({ inboxIds }: Remembered): void {
    for (const id of inboxIds) this.#eventOf.delete(id)
    this.#lane.parts.memory.unremember(inboxIds.length)
  }

  /** An event has come: whether rows are to be read again for that, which waited for it and nothing else. */
  arrived(eventId: string): boolean {
    const open = [eventId]
    for (let id = open.pop(); id !== undefined; id = open.pop())
      for (const event of this.#graph.arrived(id)) {
        this.#drop(event)
        this.#due.push(...event.inboxIds)
        open.push(event.eventId)
      }
    return this.hasDue
  }

  /** Ends the pauses of rows that are to be read again. */
  *wake(): Task<void> {
    const { parts, shard } = this.#lane
    const ids = this.#due.filter((id) => !this.#writing.has(id))
    this.#due = this.#due.filter((id) => this.#writing.has(id))
    parts.counters.woken += ids.length
    yield* wait(inbox.wake(parts.sql, shard, ids))
  }
}
