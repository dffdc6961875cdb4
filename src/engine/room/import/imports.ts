import { conflict, notFound } from '#core/error.ts'
import * as sessions from '#store/import/sessions.ts'
import { answeredBatch, requireOpen, takeBatch } from '#engine/room/import/batch.ts'
import { commitImport, type Send } from '#engine/room/import/commit.ts'
import { Ended } from '#engine/room/import/ended.ts'
import { Open, type Opened, preflight, requireMarking } from '#engine/room/import/open.ts'
import { Staging, type Wish } from '#engine/room/import/staging.ts'
import { Steps } from '#engine/room/import/steps.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import type { ImportBatch, ImportStep, OpenImport } from '#engine/worker/import-steps.ts'

/** Bytes of sessions in memory, about; those that are worked on are there in any case. */
const maxKeptBytes = 32 * 2 ** 20

/**
 * The imports into the rooms of a worker. The steps of a room take turns, and a few rooms are worked on at once;
 * within a step all comes behind what local users wait for, and one transaction of imports is under way.
 */
export class Imports {
  readonly #parts: Parts
  readonly #send: Send
  readonly #steps: Steps
  readonly #ended: Ended
  readonly #kept = new Map<string, Staging>()

  constructor(parts: Parts, { send, laneOf }: { send: Send; laneOf: (roomId: string) => Lane }) {
    this.#parts = parts
    this.#send = send
    this.#steps = new Steps(parts.limits)
    this.#ended = new Ended(parts, {
      send,
      laneOf,
      inStep: ({ room_id: roomId }, run) => {
        const lane = laneOf(roomId)
        return lane.keep(() => this.#steps.between(roomId, () => run(lane)))
      },
    })
  }

  /** Goes on with what was begun before the start. */
  resume(): void {
    this.#ended.wake()
  }

  /** Takes a step after those of its room that came before it; its answer, as JSON. */
  take(lane: Lane, step: ImportStep): Promise<string> {
    return this.#steps.take(lane.roomId, () => this.#take(lane, step))
  }

  /** Does something to a room while nothing is imported into it. */
  between<T>(roomId: string, run: () => Promise<T>): Promise<T> {
    return this.#steps.between(roomId, run)
  }

  async stop(): Promise<void> {
    await Promise.all([this.#steps.stop(), this.#ended.stop()])
  }

  async #take(lane: Lane, step: ImportStep): Promise<string> {
    if (step.step === 'open') return this.#open(lane, step)
    const { sessionId } = step
    try {
      const row = this.#kept.get(sessionId)?.row ?? (await this.#row(lane, sessionId))
      await this.#requireRight(lane, row, step)
      switch (step.step) {
        case 'batch':
          return (
            (await answeredBatch(this.#parts.sql, row, step.batch)) ??
            (await this.#takeBatch(lane, step))
          )
        case 'commit':
          if (row.state === 'committed') return row.answer!
          requireOpen(row)
          return await commitImport(lane, await this.#staging(lane, sessionId), this.#send)
        case 'abort':
          return this.#told(row, await this.#ended.abort(row))
        case 'undo':
          return this.#told(row, await this.#ended.undo(lane, row))
      }
    } catch (error) {
      // What it was is read again from the database.
      this.#kept.delete(sessionId)
      throw error
    }
  }

  async #takeBatch(lane: Lane, batch: ImportBatch): Promise<string> {
    const staging = await this.#staging(lane, batch.sessionId)
    if (staging.isPublished) throw conflict('The import is being committed: commit it again')
    return takeBatch(lane, staging, batch, () => this.#steps.isStopping)
  }

  #told({ session_id: sessionId }: sessions.SessionRow, state: sessions.SessionState): string {
    this.#kept.delete(sessionId)
    return JSON.stringify({ session_id: sessionId, state })
  }

  async #row(lane: Lane, sessionId: string): Promise<sessions.SessionRow> {
    const row = await sessions.byId(this.#parts.sql, sessionId)
    if (row?.room_id !== lane.roomId) throw notFound('There is no such import of this room')
    return row
  }

  /** Who opened it may have been put out of the room since. */
  async #requireRight(
    lane: Lane,
    { wish }: sessions.SessionRow,
    { isAdmin }: { isAdmin: boolean },
  ): Promise<void> {
    if (isAdmin) return
    const { userId } = JSON.parse(wish) as Wish
    await this.#look(lane, (room) => {
      if (!room) throw notFound('The room is not known')
      return requireMarking(this.#parts, room, userId)
    })
  }

  async #staging(lane: Lane, sessionId: string): Promise<Staging> {
    const staging = await this.#look(lane, (room) => this.#found(room, sessionId))
    // The one that was used least is the first.
    this.#kept.delete(sessionId)
    this.#kept.set(sessionId, staging)
    let bytes = 0
    for (const each of this.#kept.values()) bytes += each.bytes
    for (const [id, each] of this.#kept) {
      if (bytes <= maxKeptBytes || each === staging) break
      bytes -= each.bytes
      this.#kept.delete(id)
    }
    return staging
  }

  *#found(room: Room | null, sessionId: string): Task<Staging> {
    if (!room) throw notFound('There is no such import')
    const kept = this.#kept.get(sessionId)
    if (kept?.row.room_nid === room.nid) return kept
    return yield* Staging.load(this.#parts, room, sessionId)
  }

  #look<T>(lane: Lane, look: (room: Room | null) => Task<T>): Promise<T> {
    return this.#parts.turns.seat(true).run(
      (function* () {
        return yield* look(yield* lane.load())
      })(),
    )
  }

  async #open(lane: Lane, wish: OpenImport): Promise<string> {
    const { sql } = this.#parts
    const { plan, warnings } = await this.#look(lane, (room) => preflight(this.#parts, room, wish))
    const tell = (
      row: Pick<sessions.SessionRow, 'session_id' | 'mode' | 'next_batch'> | undefined,
    ) =>
      JSON.stringify({
        ...(row && { session_id: row.session_id, next_batch: row.next_batch }),
        mode: row?.mode ?? wish.mode,
        plan,
        warnings,
      })
    const roomNid = lane.room!.nid
    const open = await sessions.openOf(sql, lane.shard, roomNid, wish.source)
    if (open && open.owner !== wish.owner && !wish.isAdmin)
      throw conflict('Somebody else is importing from this source into the room')
    if (open) return tell(open)
    if (wish.dryRun) return tell(undefined)
    await this.#ended.clear(lane.room!, () => this.#steps.isStopping)
    const opened = await lane.perform<Opened>((answer) => new Open(answer))
    const { mode, position, federate, liveRoom, userId } = wish
    const row: sessions.NewSession = {
      shard: lane.shard,
      session_nid: opened.sessionNid,
      room_nid: opened.roomNid,
      chain: opened.chain,
      base_snapshot: opened.snapshot,
      session_id: crypto.randomUUID().replaceAll('-', ''),
      room_id: lane.roomId,
      source: wish.source,
      owner: wish.owner,
      mode,
      wish: JSON.stringify({ mode, position, federate, liveRoom, userId }),
      anchors: opened.anchors,
      created_at: this.#parts.now(),
    }
    await sessions.add(sql, row)
    return tell({ session_id: row.session_id, mode, next_batch: 0 })
  }
}
