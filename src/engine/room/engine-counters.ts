import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'

/** What the lanes of a worker have counted, and gauges of the moment. */
export function countersOf(
  parts: Parts,
  lanes: ReadonlyMap<string, Lane>,
): { [name: string]: number } {
  let longest = 0
  let waiting = 0
  let parked = 0
  for (const lane of lanes.values()) {
    waiting += lane.length
    parked += lane.inbound.park.size
    longest = Math.max(longest, lane.length)
  }
  const { commits, events, failedBatches, retries, commitMs } = parts.persister.counters
  return {
    ...parts.counters,
    commits,
    persisted: events,
    failedBatches,
    retries,
    commitMs: Math.round(commitMs),
    busyMs: Math.round(parts.turns.busyMs),
    lanes: lanes.size,
    longestLane: longest,
    waiting,
    parked,
    uncommitted: parts.persister.pending,
    ...parts.memory.gauges(),
  }
}
