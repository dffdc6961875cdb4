import type { Lane } from '#engine/room/lane.ts'
import { type Task, wait } from '#engine/room/task.ts'
import * as inbox from '#store/room/inbox-thinning.ts'

/** Where nothing could be dropped it is tried so many times less often. */
const inVain = 6

/**
 * Thins the inbox of a room that is very far behind: what others in it cite is dropped, and asked for
 * when what cites it is worked off, or its state instead. The room is up to date the sooner.
 */
export class Thinning {
  readonly #lane: Lane
  #notBefore = -Infinity

  constructor(lane: Lane) {
    this.#lane = lane
  }

  /** Looks, now and then, whether that is to be done, and does it; of all rows but those in memory. */
  *look(held: readonly number[]): Task<void> {
    const { parts, roomId, shard } = this.#lane
    const { sql, limits, counters, now, onError, onThin } = parts
    if (now() < this.#notBefore) return
    this.#notBefore = now() + limits.thinEveryMs
    const wanted = {
      above: limits.thinAbove,
      keep: limits.thinKeep,
      newest: limits.thinNewest,
      states: limits.thinStates,
      held,
    }
    try {
      const dropped = yield* wait(inbox.thin(sql, shard, roomId, wanted))
      if (dropped === 0) this.#notBefore = now() + inVain * limits.thinEveryMs
      if (!dropped) return
      counters.thinned += dropped
      onThin(roomId, dropped)
    } catch (error) {
      onError(error, 'the inbox of a room could not be thinned')
    }
  }
}
