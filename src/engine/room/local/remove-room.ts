import { MatrixError, unavailable } from '#core/error.ts'
import * as remains from '#store/room/remains.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { shardOfRoom } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { nothing, type Outcome } from '#engine/room/work.ts'
import type { RemainsStep } from '#engine/worker/protocol.ts'

/** Events that are looked at, and rows of a table that are dropped, in one statement. */
const atOnce = 2_000

/**
 * Removes a room: from then on it is as if it had never been heard of. What had come before is
 * committed first; what comes meanwhile waits, and then finds no room. The numbers under which rows
 * are left, of this time or an earlier one.
 */
export async function removeRoom(lane: Lane, force: boolean): Promise<number[]> {
  const { parts, roomId, shard } = lane
  if (parts.isJoining(roomId)) throw unavailable('The room is just being joined')
  const room = await lane.perform<Room | null>((answer) => new Close(answer, force))
  if (room) {
    try {
      const { epoch } = shardOfRoom(parts, room)
      await remains.remove(parts.sql, { shard, epoch }, room.nid)
    } finally {
      // An event that comes again, with a new room, is a new one.
      parts.events.forgetRoom(roomId)
      lane.reopen()
    }
  }
  return remains.of(parts.sql, shard, roomId)
}

/** Drops some rows of a removed room; how to go on, null if none are left. */
export async function dropRemains(
  lane: Lane,
  roomNid: number,
  step: RemainsStep,
): Promise<RemainsStep | null> {
  const { shard, parts } = lane
  if (step.phase === 'events') {
    const after = await remains.dropEvents(parts.sql, { shard, roomNid }, step.after, atOnce)
    return after === null ? { phase: 'rest' } : { phase: 'events', after }
  }
  return (await remains.dropRest(parts.sql, { shard, roomNid }, atOnce)) ? null : step
}

/** Keeps everything else out of a room, and is answered when what was decided of it is committed. */
class Close extends Asked<Room | null> {
  readonly bytes = 0
  readonly #force: boolean
  #room: Room | null = null

  constructor(answer: Answer<Room | null>, force: boolean) {
    super(answer)
    this.#force = force
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    this.#room = room
    if (!room) {
      this.answer.resolve(null)
      return null
    }
    if (!this.#force && isOurs(lane.parts, room))
      throw new MatrixError(400, 'M_UNKNOWN', 'Users of this server are in the room')
    lane.close()
    return nothing(room)
  }

  answerFor(): Room | null {
    return this.#room
  }
}
