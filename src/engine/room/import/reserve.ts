import { Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Task } from '#engine/room/task.ts'
import { nothing, type Outcome } from '#engine/room/work.ts'

/** A commit that persists nothing but how far the shard's numbers were given out. */
export class Reserve extends Asked<null> {
  readonly bytes = 0

  answerFor(): null {
    return null
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (!room) throw new Error(`${lane.roomId} is gone`)
    return nothing(room)
  }
}
