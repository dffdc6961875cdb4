import { emptyPart, type RoomPart } from '#store/room/batch.ts'
import type { Task } from '#engine/room/task.ts'

/** What became of a piece of work: the shard's positions that its events and deltas took. */
export type Committed = { shard: number; firstPosition: number }

/**
 * One thing that a room is asked to do: an event of a local user, an event from the inbox, a join.
 * It is decided in the lane, persisted with others, and answered after that. If its commit fails it
 * is decided again, on the room as it then is.
 */
export interface Work<Room> {
  /** A local user waits for it: it goes ahead. */
  readonly local: boolean
  /** What it weighs in a batch: bytes of JSON. */
  readonly bytes: number
  /** The inbox rows that go with it. */
  readonly inboxIds: readonly number[]
  /**
   * Decides, applies the outcome to the room in memory, and gives what is to be persisted; null if
   * nothing is. From the last look at the room to the end nothing is yielded.
   */
  decide(room: Room): Task<Outcome | null>
  /** It is committed: answer. */
  committed(committed: Committed): void
  /** It will not be: answer with the error. */
  failed(error: Error): void
}

/**
 * What decided work persists. Positions and ingest numbers count from 1 here: which ones they become
 * is known when the batch is put together.
 */
export type Outcome = { part: RoomPart; positions: number; ingests: number }

/** Persists nothing: it is committed once all is that was decided before. */
export const nothing = ({ shard, nid }: { shard: number; nid: number }): Outcome => ({
  part: emptyPart(shard, nid),
  positions: 0,
  ingests: 0,
})

/** Thrown into work whose room was reloaded while it was being decided: it is decided again. */
export class RoomReloaded extends Error {
  override readonly name = 'RoomReloaded'
}
