import { stillJoined } from '#engine/read/visible.ts'
import type { View } from '#engine/read/positions.ts'
import type { Sql } from '#store/db.ts'
import * as readState from '#store/room/read-state.ts'
import type { RoomPlan } from '#engine/sync/plan.ts'
import { isReplaced } from '#engine/sync/state.ts'
import { isAsked } from './away.ts'
import type { Wanted } from './choose.ts'

/** A room that an answer tells. */
export type Telling = Wanted & {
  /** The client replaces what it had of the room. */
  readonly initial: boolean
  /** A longer timeline than before: what the client had of it comes again. */
  readonly expanded: boolean
  /** State that is wanted now, and was not before. */
  readonly moreState: boolean
  /** Changes of state since the client was told. */
  readonly deltas: readonly readState.DeltaRow[]
  /** Undefined: asked in, or never joined. */
  readonly plan: RoomPlan | undefined
}

/**
 * What one answer tells of rooms at most: an event of a timeline counts as 1. It is written at one go, and
 * everybody else waits meanwhile: some 100 ms.
 */
export const maxCost = 5000
/** What telling a room costs beside its events. */
const roomCost = 10

/**
 * How each room is told. Not spec: those beyond a bound are told by the next answers.
 */
export async function planTellings(
  sql: Sql,
  wanted: readonly Wanted[],
  { vector }: View,
  budget: number,
): Promise<Telling[]> {
  const tellings: Telling[] = []
  let cost = 0
  for (const each of wanted) {
    const { entry, config, sent } = each
    const { place } = entry
    const { membership } = place
    const moved = sent !== undefined && sent.membership !== membership
    const initial = !sent || (moved && (membership === 'join' || isAsked(place)))
    const expanded = !initial && config.limit > sent.limit && !isAsked(place)
    const moreState = !initial && !sent.required.covers(config.required) && !isAsked(place)
    tellings.push({ ...each, initial, expanded, moreState, deltas: [], plan: undefined })
    cost += roomCost + config.limit
    if (cost >= budget) break
  }
  const high = ({ entry: { place } }: Telling) =>
    place.membership === 'join' ? vector.rooms[place.shard]! : place.position
  const stretches = tellings.flatMap((telling) => {
    const { initial, sent, entry } = telling
    const { shard, roomNid } = entry.place
    const to = high(telling)
    if (initial || isAsked(entry.place) || sent!.at >= to) return []
    return [{ shard, roomNid, low: sent!.at, start: to + 1, high: to }]
  })
  const rows = stretches.length ? await readState.deltas(sql, stretches) : []
  const byRoom = Map.groupBy(rows, (row) => row.room_nid)
  return tellings.map((telling) => {
    const deltas = byRoom.get(telling.entry.place.roomNid) ?? []
    // State that was replaced as a whole is told as a whole.
    const initial = telling.initial || isReplaced(deltas)
    const plan = planOf({ ...telling, initial }, high(telling))
    return { ...telling, initial, expanded: telling.expanded && !initial, deltas, plan }
  })
}

function planOf(telling: Telling, high: number): RoomPlan | undefined {
  const { entry, initial, expanded, sent, until } = telling
  const { place } = entry
  const isJoined = place.membership === 'join'
  if (isAsked(place) || (!isJoined && until === undefined)) return undefined
  return {
    room: place,
    kind: isJoined ? 'join' : 'leave',
    low: initial || expanded ? 0 : sent!.at,
    high,
    joinedUntil: isJoined ? stillJoined : until!,
    full: initial,
    fresh: false,
  }
}
