import type { Decided, Persisted } from '#engine/room/decide/decided.ts'

/** What goes into one batch: of each shard its rooms, of each room what was decided first. */
export type Selection = Map<number, Map<Persisted, Decided[]>>
/** What waits, in the same form. */
export type Pending = Map<number, Map<Persisted, Decided[]>>
export type FillLimits = { maxEvents: number; maxBytes: number }

/** How much one room gets before the next room's turn. */
const perTurn = 10

/**
 * Takes the next batch out of what waits, of shards that have no commit in flight. A shard with more
 * than half of what a batch may hold goes by itself: the quiet ones need not wait for it.
 */
export function fill(
  pending: Pending,
  busy: ReadonlySet<number>,
  { maxEvents, maxBytes }: FillLimits,
): Selection {
  const free = [...pending].filter(([shard]) => !busy.has(shard))
  const sized = free.map(([shard, rooms]) => ({ shard, rooms, count: countOf(rooms) }))
  sized.sort((a, b) => a.count - b.count)
  const selection: Selection = new Map()
  const left = { events: maxEvents, bytes: maxBytes }
  for (const { shard, rooms, count } of sized) {
    if (selection.size > 0 && (count > maxEvents / 2 || left.events <= 0 || left.bytes <= 0)) break
    selection.set(shard, takeShard(rooms, left))
    if (rooms.size === 0) pending.delete(shard)
  }
  return selection
}

function countOf(rooms: ReadonlyMap<Persisted, Decided[]>): number {
  let count = 0
  for (const list of rooms.values()) count += list.length
  return count
}

function takeShard(
  rooms: Map<Persisted, Decided[]>,
  left: { events: number; bytes: number },
): Map<Persisted, Decided[]> {
  const taken = new Map<Persisted, Decided[]>()
  // What local users wait for first, with all of its room that was decided before it.
  for (const [room, list] of rooms) {
    const upTo = list.findLastIndex(({ work }) => work.local) + 1
    if (upTo > 0 && left.events > 0) take(rooms, room, upTo, taken, left)
  }
  for (let some = true; some && left.events > 0 && left.bytes > 0;) {
    some = false
    for (const room of Array.from(rooms.keys())) {
      if (left.events <= 0 || left.bytes <= 0) break
      some = take(rooms, room, Math.min(perTurn, left.events), taken, left) || some
    }
  }
  return taken
}

/** Moves up to so many of one room; false if none may go along. */
function take(
  rooms: Map<Persisted, Decided[]>,
  room: Persisted,
  count: number,
  taken: Map<Persisted, Decided[]>,
  left: { events: number; bytes: number },
): boolean {
  const list = rooms.get(room)!
  const mine = taken.get(room)
  // One that is to go alone neither follows another of its room nor is followed.
  if (mine?.some(({ alone }) => alone)) return false
  const stop = list.findIndex(({ alone }) => alone)
  if (stop === 0) {
    if (mine) return false
    count = 1
  } else if (stop > 0) count = Math.min(count, stop)
  const moved = list.splice(0, count)
  // The last one behind is put at the end: next time the others have their turn first.
  rooms.delete(room)
  if (list.length > 0) rooms.set(room, list)
  taken.set(room, mine ? [...mine, ...moved] : moved)
  left.events -= moved.length
  for (const { work } of moved) left.bytes -= work.bytes
  return moved.length > 0
}

/**
 * Where local users wait while a batch is held: rooms of which nothing is under way, and whether it is
 * in the batch itself, or on top of what is in it.
 */
export function awaited(
  pending: Pending,
  flying: ReadonlySet<Persisted>,
  selection: Selection,
): { rooms: Persisted[]; inSelection: boolean } {
  const isLocal = ({ work }: Decided) => work.local
  const rooms: Persisted[] = []
  let inSelection = false
  for (const held of selection.values())
    for (const [room, list] of held) {
      const above = pending.get(room.shard)?.get(room) ?? []
      inSelection ||= list.some(isLocal) || above.some(isLocal)
    }
  for (const waiting of pending.values())
    for (const [room, list] of waiting)
      if (!flying.has(room) && list.some(isLocal)) rooms.push(room)
  return { rooms, inSelection }
}
