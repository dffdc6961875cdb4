import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { nothing, type Outcome, RoomReloaded } from '#engine/room/work.ts'

const maxReloads = 50

/** Runs what only reads a room, beside its lane's queue; again if the room was reloaded under it. */
export async function aside<T>(lane: Lane, look: (room: Room | null) => Task<T>): Promise<T> {
  for (let reloads = 0; ; reloads++) {
    try {
      return await lane.parts.turns.seat(true).run(lookInto(lane, look))
    } catch (error) {
      if (!(error instanceof RoomReloaded) || reloads >= maxReloads) throw error
    }
  }
}

function* lookInto<T>(lane: Lane, look: (room: Room | null) => Task<T>): Task<T> {
  const room = yield* lane.load()
  const found = yield* look(room)
  if (room?.stale) throw new RoomReloaded()
  return found
}

/** Resolves when what a room has decided by now is committed, or decided again. */
export const settled = (lane: Lane): Promise<void> => lane.perform((answer) => new Settle(answer))

class Settle extends Asked<void> {
  readonly bytes = 0

  constructor(answer: Answer<void>) {
    super(answer)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (room && room.uncommitted.size > 0) return nothing(room)
    this.answer.resolve()
    return null
  }

  answerFor(): void {}
}
