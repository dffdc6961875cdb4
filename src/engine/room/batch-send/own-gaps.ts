import { domainOf } from '#core/ids.ts'
import { emptyPart } from '#store/room/batch.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { closeOwnGap, readSpans } from '#engine/room/decide/place.ts'
import type { Task } from '#engine/room/task.ts'
import { nothing, type Outcome, RoomReloaded } from '#engine/room/work.ts'

/** The servers of some insertion events have said that nothing more hangs on them: nobody is to ask again. */
export class CloseOwnGaps extends Asked<null> {
  override readonly local = false
  readonly bytes = 500
  readonly #eventIds: readonly string[]
  readonly #servers: ReadonlySet<string>

  constructor(answer: Answer<null>, eventIds: readonly string[], servers: ReadonlySet<string>) {
    super(answer)
    this.#eventIds = eventIds
    this.#servers = servers
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts, roomId } = lane
    const room = yield* lane.load()
    if (!room) throw new Error(`${roomId} is gone`)
    const found = yield* parts.events.byIds(room, this.#eventIds)
    const open = [...found.values()].filter(
      ({ nid, event }) =>
        room.missing.get(event.eventId)?.includes(nid) &&
        this.#servers.has(domainOf(event.sender)!),
    )
    if (open.length === 0) return nothing(room)
    yield* readSpans(parts, room, open)
    if (room.stale) throw new RoomReloaded()
    const part = emptyPart(room.shard, room.nid)
    for (const known of open) closeOwnGap(room, part, known)
    room.revision++
    return { part, positions: 0, ingests: 0 }
  }

  answerFor(): null {
    return null
  }
}
