import type { Incoming } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import type { Committed, Outcome, Work } from '#engine/room/work.ts'

/** Work for an event of another server that nobody waits for: its rows stay in the inbox until it is done. */
export abstract class FromInbox implements Work<Lane> {
  readonly local = false
  readonly bytes: number
  readonly incoming: Incoming
  #lane: Lane | undefined
  #room: Room | undefined
  #known: Known | undefined

  constructor(incoming: Incoming) {
    this.incoming = incoming
    this.bytes = incoming.text.length
  }

  get inboxIds(): readonly number[] {
    return this.incoming.inboxIds
  }

  /** What becomes of it in the room; undefined if nothing does, and its rows are taken care of. */
  protected abstract take(
    lane: Lane,
    room: Room | null,
  ): Task<{ known: Known; outcome: Outcome } | undefined>

  *decide(lane: Lane): Task<Outcome | null> {
    this.#lane = lane
    const room = yield* lane.load()
    const taken = yield* this.take(lane, room)
    if (!taken) return null
    this.#room = room!
    this.#known = taken.known
    return taken.outcome
  }

  committed(_committed: Committed): void {
    this.#room!.committed(this.#known!)
    const { inbound } = this.#lane!
    inbound.done(this.inboxIds)
    inbound.arrived(this.incoming.eventId)
  }

  /** A bug, or a database that is away: the rows stay in the inbox, for later. */
  failed(error: Error): void {
    if (!this.#lane) return
    const { parts, inbound, roomId } = this.#lane
    parts.onError(error, `an event of ${roomId} could not be decided`)
    inbound.postpone(this.inboxIds)
  }
}
