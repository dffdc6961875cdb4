import { notFound } from '#core/error.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { applyOutside } from '#engine/room/member/outside.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import type { Committed, Outcome } from '#engine/room/work.ts'
import type { Landed } from '#engine/worker/protocol.ts'

/** The leave that ends an invite or a knock in a room that we are not in. */
export class LeaveOutside extends Asked<Landed> {
  readonly bytes: number
  readonly #event: RoomEvent
  readonly #text: string
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<Landed>, event: RoomEvent, text: string) {
    super(answer)
    this.#event = event
    this.#text = text
    this.bytes = text.length
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (!room) throw notFound('The room is not known')
    const made = yield* applyOutside(lane.parts, room, this.#event, {
      text: this.#text,
      claimed: false,
    })
    this.#room = room
    this.#known = made.known
    return made.outcome
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed {
    return { eventId: this.#known!.event.eventId, shard, position }
  }
}
