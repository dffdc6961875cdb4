import { emptyPart } from '#store/room/batch.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Decided } from '#engine/room/decide/decided.ts'
import type { Work } from '#engine/room/work.ts'

/** Inbox rows that are done with though no event of theirs is persisted. */
class Discard implements Work<Lane> {
  readonly local = false
  readonly bytes = 0
  readonly inboxIds: readonly number[]
  readonly #lane: Lane

  constructor(lane: Lane, inboxIds: readonly number[]) {
    this.#lane = lane
    this.inboxIds = inboxIds
  }

  // eslint-disable-next-line require-yield
  *decide(lane: Lane): ReturnType<Work<Lane>['decide']> {
    const part = emptyPart(lane.shard, lane.room?.nid ?? 0)
    part.inbox.push(...this.inboxIds)
    return { part, positions: 0, ingests: 0 }
  }

  committed(): void {
    this.#lane.inbound.done(this.inboxIds)
  }

  failed(error: Error): void {
    this.#lane.parts.onError(error, 'inbox rows could not be taken away')
  }
}

/** Rows for the next commit to take out of the inbox. */
export function discardOf(lane: Lane, inboxIds: readonly number[]): Decided {
  const part = emptyPart(lane.shard, lane.room?.nid ?? 0)
  part.inbox.push(...inboxIds)
  return {
    room: lane,
    work: new Discard(lane, inboxIds),
    outcome: { part, positions: 0, ingests: 0 },
    alone: false,
  }
}
