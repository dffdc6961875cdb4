import { conflict, MatrixError, unavailable } from '#core/error.ts'
import * as records from '#store/import/records.ts'
import * as sessions from '#store/import/sessions.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import * as importChains from '#store/room/import-chains.ts'
import { ask, type Send } from '#engine/room/import/commit.ts'
import { leaderOf } from '#engine/room/import/leader.ts'
import { importTxn } from '#engine/room/import/publish.ts'
import { Rounds } from '#engine/room/import/rounds.ts'
import { Undo } from '#engine/room/import/undo.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'

/** Rows dropped in one statement. */
const atOnce = 1_000
/** How long whoever imports anew waits until what was aborted is dropped. */
const clearMs = 10_000
/** Redactions after which it is noted how far they are. */
const perNote = 100

export type EndedOptions = {
  send: Send
  laneOf: (roomId: string) => Lane
  /** Runs something when no step of the room is under way. */
  inStep: (row: sessions.SessionRow, run: (lane: Lane) => Promise<unknown>) => Promise<unknown>
}

/**
 * What follows when an import is aborted or undone. Each session says what is still to be done of it, so that
 * it goes on after a restart: it is undone, its records are forgotten, what nobody ever saw is dropped, and what
 * other servers saw is redacted.
 */
export class Ended {
  readonly #parts: Parts
  readonly #options: EndedOptions
  readonly #tidying: Rounds
  readonly #takingBack: Rounds

  constructor(parts: Parts, options: EndedOptions) {
    const { sql, shards } = parts
    this.#parts = parts
    this.#options = options
    this.#tidying = new Rounds(parts, {
      find: (after, limit) => sessions.untidied(sql, [...shards.keys()], after, limit),
      work: (row, isStopping) => this.#tidy(row, isStopping),
      what: 'an import could not be tidied up',
    })
    this.#takingBack = new Rounds(parts, {
      find: (after, limit) => sessions.toTakeBack(sql, [...shards.keys()], after, limit),
      work: (row, isStopping) => this.#takeBack(row, isStopping),
      what: 'an import could not be taken back on other servers',
    })
  }

  /** There may be something to do. */
  wake(): void {
    this.#tidying.wake()
    this.#takingBack.wake()
  }

  async stop(): Promise<void> {
    await Promise.all([this.#tidying.stop(), this.#takingBack.stop()])
  }

  /**
   * Waits until nothing is left in a room of what was aborted there: the same records on top of the same
   * events make the same events again.
   */
  async clear(room: Pick<Room, 'shard' | 'nid'>, isStopping: () => boolean): Promise<void> {
    const { sql } = this.#parts
    const until = performance.now() + clearMs
    const isOver = () => isStopping() || performance.now() > until
    for (const row of await sessions.abortedIn(sql, room.shard, room.nid))
      await this.#tidy(row, isOver)
    if ((await sessions.abortedIn(sql, room.shard, room.nid)).length > 0)
      throw unavailable('What was aborted in this room is still being dropped', 2_000)
  }

  /** Drops what is not published; the state that the session is in then. */
  async abort(row: sessions.SessionRow): Promise<sessions.SessionState> {
    const { sql } = this.#parts
    if (row.state !== 'open' && row.state !== 'aborted')
      throw conflict(`The import is ${row.state}: it cannot be aborted, only undone`)
    const chain = await importChains.stateOf(sql, row.shard, row.chain)
    if (chain && chain.published_at !== null)
      throw conflict('The import is being committed: commit it again')
    if (row.state === 'open')
      await sessions.end(sql, row, { state: 'aborted', takeBackAfter: null })
    this.#tidying.wake()
    return 'aborted'
  }

  /** Hides what is published; the state that the session is in then. */
  async undo(lane: Lane, row: sessions.SessionRow): Promise<sessions.SessionState> {
    const { sql } = this.#parts
    if (row.state === 'open' || row.state === 'aborted')
      throw conflict(`The import is ${row.state}: there is nothing to undo`)
    if (row.state === 'undone') return 'undone'
    // From here on it is undone, whatever becomes of this server.
    if (row.state === 'committed') await sessions.setState(sql, row, 'undoing', null)
    const chain = await importChains.stateOf(sql, row.shard, row.chain)
    if (chain && chain.published_at !== null && chain.hidden_at === null)
      await lane.perform<null>((answer) => new Undo(answer, row.chain))
    await sessions.end(sql, row, { state: 'undone', takeBackAfter: -1 })
    this.wake()
    return 'undone'
  }

  /** Forgets the records, so that they could be imported again, and what nobody ever saw; in small steps. */
  async #tidy(found: sessions.SessionRow, isStopping: () => boolean): Promise<void> {
    const { sql, yielding } = this.#parts
    if (found.state === 'undoing')
      await this.#options.inStep(found, async (lane) => {
        const row = await sessions.byId(sql, found.session_id)
        if (row?.state === 'undoing') await this.undo(lane, row)
      })
    const row = await sessions.byId(sql, found.session_id)
    if (!row?.untidied) return
    const inSteps = async (step: () => Promise<boolean>): Promise<boolean> => {
      while (!isStopping()) if (!(await yielding.writes.run(step))) return true
      return false
    }
    await records.forgetWaiting(sql, row)
    if (!(await inSteps(() => records.forget(sql, row, atOnce)))) return
    if (row.state === 'aborted') {
      const { shard, chain, base_snapshot: base } = row
      if (!(await inSteps(() => importChains.dropStaged(sql, shard, chain, atOnce)))) return
      await importChains.dropStates(sql, shard, chain, base)
      await sessions.forgetPeople(sql, row)
    }
    await sessions.setTidied(sql, row)
  }

  /** Redacts what other servers have seen of an import, one event after the other. */
  async #takeBack(row: sessions.SessionRow, isStopping: () => boolean): Promise<void> {
    const lane = this.#options.laneOf(row.room_id)
    await lane.keep(async () => {
      const leader = await this.#whoRedacts(lane)
      if (leader === undefined) {
        await sessions.setTakenBack(this.#parts.sql, row, null)
        return
      }
      for (let after = row.take_back_after!; !isStopping();) {
        const last = await this.#redactSome(lane, row, { leader, after, isStopping })
        await sessions.setTakenBack(this.#parts.sql, row, last)
        if (last === null) return
        after = last
      }
    })
  }

  /** Who of ours takes it back; nobody if no other server has users in the room. */
  async #whoRedacts(lane: Lane): Promise<string | undefined> {
    const { signing } = this.#parts
    const leader = await ask(lane, (room) => leaderOf(this.#parts, room, room.state))
    const servers = [...(lane.room?.servers.values() ?? [])]
    const isSeen = servers.some(({ name, joined }) => joined > 0 && name !== signing.serverName)
    return isSeen ? leader?.userId : undefined
  }

  /** The index up to which they are redacted now; null at the end. */
  async #redactSome(
    lane: Lane,
    row: sessions.SessionRow,
    { leader, after, isStopping }: { leader: string; after: number; isStopping: () => boolean },
  ): Promise<number | null> {
    const { sql, onError } = this.#parts
    const events = await importChains.toTakeBack(sql, row.shard, row.chain, after, perNote)
    let last = after
    for (const { event_id: packed, chain_index: index } of events) {
      if (isStopping()) return last
      try {
        await this.#options.send(lane.roomId, {
          sender: leader,
          type: 'm.room.redaction',
          content: JSON.stringify({ reason: 'The import was undone' }),
          redacts: unpackEventId(packed, lane.room!.version),
          txn: importTxn(leader, `${row.session_id} ${index}`, 'undo'),
        })
      } catch (error) {
        if (!(error instanceof MatrixError) || error.status !== 403) throw error
        // Whoever has the most power here may not redact what others said: nobody may.
        onError(error, `an import into ${lane.roomId} cannot be taken back on other servers`)
        return null
      }
      last = index
    }
    return events.length < perNote ? null : last
  }
}
