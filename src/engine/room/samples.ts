import { snakeCase } from '#core/snake-case.ts'
import type { Counters } from '#engine/room/counters.ts'
import type { RoomEngine } from '#engine/room/engine.ts'
import type { Sample } from '#engine/worker/measured.ts'

/** Counters that are no count of what became of events. */
const named: Partial<Record<keyof Counters, string>> = {
  resolutions: 'state_resolutions_total',
  mergesRepeated: 'merges_repeated_total',
  missingRequests: 'missing_event_requests_total',
  stateFetches: 'state_fetches_total',
}

/** In `counters`, and above under another name. */
const seen = new Set(
  'commits persisted failedBatches retries commitMs lanes longestLane waiting parked uncommitted'.split(
    ' ',
  ),
)

const shares = [0.5, 0.9, 0.99, 1]

/** What a room worker has counted, and how its lanes are just now. */
export function samplesOf(engine: RoomEngine): Sample[] {
  const { parts, lanes, joins } = engine
  const { persister, turns, times, yielding } = parts
  const { counters: commits } = persister
  const lengths: number[] = []
  let parked = 0
  for (const { length, inbound } of lanes.values()) {
    if (length > 0) lengths.push(length)
    parked += inbound.park.size
  }
  lengths.sort((a, b) => a - b)
  return [
    ...countersOf(parts.counters),
    { name: 'persisted_total', value: commits.events },
    { name: 'commits_failed_total', value: commits.failedBatches },
    { name: 'commits_retried_total', value: commits.retries },
    { name: 'commit_events', value: commits.sizes.read() },
    { name: 'commit_seconds', value: commits.times.seconds() },
    { name: 'turn_seconds', value: turns.times.seconds() },
    { name: 'turns_waiting', value: turns.active },
    { name: 'event_verify_seconds', value: times.verify.seconds() },
    { name: 'event_authorize_seconds', value: times.authorize.seconds() },
    { name: 'lanes', value: lanes.size },
    { name: 'lanes_busy', value: lengths.length },
    { name: 'lane_events', value: lengths.reduce((sum, length) => sum + length, 0) },
    ...shares.map((share) => ({
      name: 'lane_length',
      labels: { share: String(share) },
      value: lengths[Math.ceil(share * lengths.length) - 1] ?? 0,
    })),
    { name: 'parked_events', value: parked },
    { name: 'uncommitted_events', value: persister.pending },
    { name: 'uncommitted_bytes', value: persister.pendingBytes },
    { name: 'joins_under_way', value: joins.size },
    { name: 'import_pause_seconds', value: yielding.pauseMs / 1000 },
    { name: 'import_paused_seconds_total', value: yielding.pausedMs / 1000 },
    ...othersOf(engine),
  ]
}

function* countersOf(counters: Counters): Generator<Sample> {
  for (const [key, value] of Object.entries(counters)) {
    const name = named[key as keyof Counters]
    if (name !== undefined) yield { name, value }
    else if (key === 'resolutionMs')
      yield { name: 'state_resolution_seconds_total', value: value / 1000 }
    else yield { name: 'events_total', labels: { outcome: snakeCase(key) }, value }
  }
}

/** What the worker tells of itself that has no name of its own above: what is added there is seen here. */
function* othersOf(engine: RoomEngine): Generator<Sample> {
  for (const [key, value] of Object.entries(engine.counters()))
    if (!(key in engine.parts.counters) && !seen.has(key))
      yield { name: 'room_worker_state', labels: { what: snakeCase(key) }, value }
}
