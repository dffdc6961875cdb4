import { conflict, limitExceeded, notFound, unavailable } from '#core/error.ts'
import * as records from '#store/import/records.ts'
import * as sessions from '#store/import/sessions.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import * as importChains from '#store/room/import-chains.ts'
import { answeredBatch, requireOpen, takeBatch } from '#engine/room/import/batch.ts'
import { ask, commitImport, type Send } from '#engine/room/import/commit.ts'
import { leaderOf } from '#engine/room/import/leader.ts'
import { Open, type Opened, preflight, requireMarking } from '#engine/room/import/open.ts'
import { importTxn } from '#engine/room/import/publish.ts'
import { Staging, type Wish } from '#engine/room/import/staging.ts'
import { Undo } from '#engine/room/import/undo.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import type { ImportStep, OpenImport } from '#engine/worker/import-steps.ts'

/** Steps of imports that may wait in a worker; one is taken at a time. */
const maxWaiting = 32
/** Sessions kept in memory. */
const maxKept = 64
/** Rows dropped in one statement. */
const atOnce = 1_000

/**
 * The imports into the rooms of a worker. They take turns, a step at a time, and within a step come behind
 * what local users wait for: however much is imported, one transaction of it is under way.
 */
export class Imports {
  readonly #parts: Parts
  readonly #send: Send
  readonly #kept = new Map<string, Staging>()
  readonly #tidying = new Set<Promise<void>>()
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()
  #stopped = false

  constructor(parts: Parts, send: Send) {
    this.#parts = parts
    this.#send = send
  }

  /** Takes a step after those before it; its answer, as JSON. */
  async take(lane: Lane, step: ImportStep): Promise<string> {
    if (this.#waiting >= maxWaiting) throw limitExceeded(2_000)
    this.#waiting++
    const before = this.#last
    const taken = before.then(() => this.#take(lane, step))
    this.#last = taken.catch(() => {})
    try {
      return await taken
    } finally {
      this.#waiting--
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#last
    await Promise.all(this.#tidying)
  }

  async #take(lane: Lane, step: ImportStep): Promise<string> {
    if (this.#stopped) throw unavailable('The server is stopping')
    if (step.step === 'open') return this.#open(lane, step)
    const { sessionId } = step
    try {
      const row = this.#kept.get(sessionId)?.row ?? (await this.#row(lane, sessionId))
      await this.#requireRight(lane, row, step)
      switch (step.step) {
        case 'batch':
          return (
            (await answeredBatch(this.#parts.sql, row, step.batch)) ??
            (await takeBatch(lane, await this.#staging(lane, sessionId), step, () => this.#stopped))
          )
        case 'commit':
          if (row.state === 'committed') return row.answer!
          requireOpen(row)
          return await commitImport(lane, await this.#staging(lane, sessionId), this.#send)
        case 'abort':
          return await this.#abort(lane, row)
        case 'undo':
          return await this.#undo(lane, row)
      }
    } catch (error) {
      // What it was is read again from the database.
      this.#kept.delete(sessionId)
      throw error
    }
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
    const kept = this.#kept.get(sessionId)
    if (kept && kept.row.room_id === lane.roomId) return kept
    const staging = await this.#look(lane, (room) => {
      if (!room) throw notFound('There is no such import')
      return Staging.load(this.#parts, room, sessionId)
    })
    this.#kept.set(sessionId, staging)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > maxKept) this.#kept.delete(oldest!)
    return staging
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

  async #abort(lane: Lane, row: sessions.SessionRow): Promise<string> {
    const { sql } = this.#parts
    if (row.state !== 'open' && row.state !== 'aborted')
      throw conflict(`The import is ${row.state}: it cannot be aborted, only undone`)
    const chain = await importChains.stateOf(sql, row.shard, row.chain)
    if (chain && chain.published_at !== null)
      throw conflict('The import is being committed: commit it again')
    if (row.state === 'open') await sessions.setState(sql, row, 'aborted', null)
    row.state = 'aborted'
    this.#kept.delete(row.session_id)
    this.#tidy(lane, row, true)
    return told(row)
  }

  async #undo(lane: Lane, row: sessions.SessionRow): Promise<string> {
    const { sql } = this.#parts
    if (row.state === 'open' || row.state === 'aborted')
      throw conflict(`The import is ${row.state}: there is nothing to undo`)
    const chain = await importChains.stateOf(sql, row.shard, row.chain)
    if (chain && chain.published_at !== null && chain.hidden_at === null)
      await lane.perform<null>((answer) => new Undo(answer, row.chain))
    if (row.state === 'committed') await sessions.setState(sql, row, 'undone', null)
    row.state = 'undone'
    this.#kept.delete(row.session_id)
    this.#tidy(lane, row, false)
    const { federate } = JSON.parse(row.wish) as Wish
    if (federate) this.#follow(lane, () => this.#takeBack(lane, row))
    return told(row)
  }

  /** Forgets the records, so that they could be imported again, and what nobody ever saw; in small steps. */
  #tidy(lane: Lane, row: sessions.SessionRow, withEvents: boolean): void {
    const { sql } = this.#parts
    const run = async () => {
      await records.forgetWaiting(sql, row)
      while (!this.#stopped && (await records.forget(sql, row, atOnce)));
      if (!withEvents) return
      while (!this.#stopped && (await importChains.dropStaged(sql, row.shard, row.chain, atOnce)));
    }
    this.#follow(lane, run)
  }

  /** Redacts what other servers have seen of an import, one event after the other. */
  async #takeBack(lane: Lane, row: sessions.SessionRow): Promise<void> {
    const { sql, signing } = this.#parts
    const leader = await ask(lane, (room) => leaderOf(this.#parts, room, room.state))
    const others = [...(lane.room?.servers.values() ?? [])]
    if (!leader || !others.some(({ name, joined }) => joined > 0 && name !== signing.serverName))
      return
    for (let after = -1; !this.#stopped;) {
      const events = await importChains.toTakeBack(sql, row.shard, row.chain, after, atOnce)
      if (events.length === 0) return
      for (const { event_id: packed, chain_index: index } of events) {
        if (this.#stopped) return
        await this.#send(lane.roomId, {
          sender: leader.userId,
          type: 'm.room.redaction',
          content: JSON.stringify({ reason: 'The import was undone' }),
          redacts: unpackEventId(packed, lane.room!.version),
          txn: importTxn(leader.userId, `${row.session_id} ${index}`, 'undo'),
        })
        after = index
      }
    }
  }

  #follow(lane: Lane, run: () => Promise<void>): void {
    const followed = lane
      .keep(run)
      .catch((error: unknown) => this.#parts.onError(error, 'an import could not be tidied up'))
      .finally(() => this.#tidying.delete(followed))
    this.#tidying.add(followed)
  }
}

const told = ({ session_id: sessionId, state }: sessions.SessionRow) =>
  JSON.stringify({ session_id: sessionId, state })
