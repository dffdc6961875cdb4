import type { RoomEvent } from '#core/event/pdu.ts'
import { byTimeThenId } from './order.ts'
import type { Resolution } from './resolvable.ts'
import { sortInSteps, type Steps } from './steps.ts'

const eventsPerStep = 512

/**
 * Sorts events by how old the power levels are on which they rest. `positions` are those of the
 * mainline; what is found on the way is added to them.
 *
 * Spec: rooms/v2/#definitions (mainline ordering)
 */
export function* mainlineOrder(
  events: Iterable<number>,
  positions: Map<number, number>,
  resolution: Pick<Resolution, 'event' | 'powerLevelsOf'>,
): Steps<number[]> {
  const placed: Placed[] = []
  for (const nid of events) {
    const position = yield* positionOf(nid, positions, resolution)
    placed.push({ nid, event: resolution.event(nid).event, position })
    if (placed.length % eventsPerStep === 0) yield
  }
  const sorted = yield* sortInSteps(placed, compare)
  return sorted.map(({ nid }) => nid)
}

type Placed = { nid: number; event: RoomEvent; position: number }

function compare(a: Placed, b: Placed): number {
  return a.position === b.position ? byTimeThenId(a.event, b.event) : b.position - a.position
}

/** The mainline of some power levels: their places in it, themselves the first. */
export function* mainlineOf(
  powerLevels: number | undefined,
  { powerLevelsOf }: Pick<Resolution, 'powerLevelsOf'>,
): Steps<Map<number, number>> {
  const positions = new Map<number, number>()
  let next = powerLevels
  while (next !== undefined && !positions.has(next)) {
    positions.set(next, positions.size)
    next = powerLevelsOf(next)
    if (positions.size % eventsPerStep === 0) yield
  }
  return positions
}

/**
 * The position of the first power levels below an event that are in the mainline, or infinity. What
 * is found is kept for all that was walked over, so that no stretch is walked twice.
 */
function* positionOf(
  nid: number,
  positions: Map<number, number>,
  { powerLevelsOf }: Pick<Resolution, 'powerLevelsOf'>,
): Steps<number> {
  const walked: number[] = []
  let next = powerLevelsOf(nid)
  while (next !== undefined && !positions.has(next)) {
    walked.push(next)
    positions.set(next, Infinity)
    next = powerLevelsOf(next)
    if (walked.length % eventsPerStep === 0) yield
  }
  const position = next === undefined ? Infinity : positions.get(next)!
  for (const event of walked) positions.set(event, position)
  return position
}
