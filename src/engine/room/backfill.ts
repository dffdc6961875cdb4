import { unavailable } from '#core/error.ts'
import type { Lane } from '#engine/room/lane.ts'

/** Fetches history before some events and commits it; the number of events gained. */
export async function backfill(
  lane: Lane,
  _beforeEventIds: readonly string[],
  _limit: number,
): Promise<number> {
  throw unavailable(`history of ${lane.roomId} cannot be fetched`)
}
