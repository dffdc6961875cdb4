import type { Outcome, Work } from '#engine/room/work.ts'

/** What the persister knows of a room: by whom to ask for its work again. */
export interface Persisted {
  readonly shard: number
  /**
   * The commit of this work failed: all of it, and what the persister still held of the room, in the
   * order in which it was decided, is to be decided again. `culprit` fails even alone.
   */
  commitFailed(works: Work<never>[], culprit: Error | undefined): void
  /** The same, for want of disk or memory: local users are told, the rest is decided again. */
  commitRefused(works: Work<never>[], lack: Error): void
}

/** Decided work that waits for its commit. */
export type Decided = {
  room: Persisted
  work: Work<never>
  outcome: Outcome
  /** It was in a batch that failed: it is committed without others of its room. */
  alone: boolean
}
