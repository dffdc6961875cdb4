import type { RoomEngine } from '#engine/room/engine.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { LaneReport, LanesReport, LanesWanted, LaneWait } from '#engine/worker/lane-report.ts'

/** The longest lanes of a worker, and those that are named, with what each is at or waits for. */
export function reportLanes(engine: RoomEngine, { longest, rooms }: LanesWanted): LanesReport {
  const named = new Set(rooms)
  const lengthOf = (lane: Lane) => lane.length + lane.inside.local
  const byLength = [...engine.lanes.values()]
    .filter((lane) => !lane.idle)
    .map((lane) => ({ lane, length: lengthOf(lane) }))
    .sort((a, b) => b.length - a.length)
  return byLength
    .filter(({ lane }, index) => index < longest || named.has(lane.roomId))
    .map(({ lane }) => reportOf(engine, lane))
}

function reportOf(engine: RoomEngine, lane: Lane): LaneReport {
  const { roomId, room, inbound, inside } = lane
  return {
    roomId,
    local: inside.local,
    inbound: inbound.length,
    parked: inbound.park.size,
    uncommitted: room?.uncommitted.size ?? 0,
    spentMs: Math.round(inside.spentMs + inbound.inside.spentMs),
    waits: [...waitsOf(engine, lane)],
  }
}

/** What keeps it, the most telling first. What waits for the database is known by what it waits for else. */
function* waitsOf({ parts, joins, searchesOf }: RoomEngine, lane: Lane): Generator<LaneWait> {
  const { room, inbound, inside } = lane
  const now = parts.now()
  let waits = false
  for (const { since } of room?.resolving ?? [])
    yield { what: 'state_resolution', forMs: now - since }
  const { awaitingKeys, keysSince, comesBack } = inbound.inside
  for (const [server, since] of keysSince) yield { what: 'keys', server, forMs: now - since }
  if (awaitingKeys > 0 && keysSince.size === 0) yield { what: 'keys', count: awaitingKeys }
  for (const search of searchesOf(lane))
    yield {
      what: 'missing_events',
      server: search.asking,
      forMs: now - search.since,
      count: search.lacks,
    }
  if (joins.has(lane.roomId)) {
    yield { what: 'join' }
    waits = true
  }
  if (inside.isClosed) {
    yield { what: 'removal' }
    waits = true
  }
  const { state, local, inbound: others } = room?.holds ?? {}
  if (state?.on || local?.on || others?.on) yield { what: 'room_held' }
  if (parts.persister.isFlying(lane)) {
    yield { what: 'commit', forMs: parts.persister.awayMs, count: room?.uncommitted.size ?? 0 }
    waits = true
  } else if (parts.persister.pending >= parts.limits.decidedAhead) {
    yield { what: 'commit', count: parts.persister.pending }
    waits = true
  }
  const isAtWork = inside.local > 0 || inbound.running
  if (inside.hasTurn || inbound.inside.hasTurn) yield { what: 'turn' }
  else if (inside.isLoading || (isAtWork && !waits && !room?.resolving.size))
    yield { what: 'database' }
  if (comesBack) yield { what: 'later_attempt' }
}
