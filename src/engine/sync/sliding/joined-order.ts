import { LRUCache } from 'lru-cache'
import type { Place } from '#engine/read/places.ts'
import type { View } from '#engine/read/positions.ts'
import type { Reader } from '#engine/read/room.ts'
import type { Vector } from '#engine/read/vector.ts'
import { type Entry, byActivity } from './lists.ts'
import type { RoomIndex } from './room-index.ts'

/** What was made for a user; `sorted` is never changed, but replaced. */
type Kept = {
  readonly entries: Map<number, Entry>
  sorted: readonly Entry[]
  /** When it was made, for what places, up to which positions, and whether with traits. */
  lookedAt: number
  places: readonly Place[] | undefined
  vector: Vector | undefined
  withTraits: boolean
}

const nothing = (): Kept => ({
  entries: new Map(),
  sorted: [],
  lookedAt: 0,
  places: undefined,
  vector: undefined,
  withTraits: false,
})

/** Rooms of users kept in order, of all users together. */
const maxEntries = 500_000
/** Beyond so many rooms that changed, all are sorted anew. */
const maxMoves = 50

/** The rooms that users are joined to in the order of lists: kept, and only those that changed are moved. */
export class JoinedOrder {
  readonly #users = new LRUCache<string, Kept>({ maxSize: maxEntries })

  /** As of a vector or later; with traits if a filter asks for them. */
  async read(
    reader: Pick<Reader, 'sql' | 'positions' | 'clock'>,
    rooms: RoomIndex,
    userId: string,
    { places, vector, changed }: View,
    withTraits: boolean,
  ): Promise<readonly Entry[]> {
    const now = reader.clock()
    const kept = this.#users.get(userId) ?? nothing()
    const stale: Place[] = []
    const isSame = kept.vector && kept.places === places && (kept.withTraits || !withTraits)
    for (const place of isSame ? changed(kept.vector!) : places) {
      if (place.membership !== 'join') continue
      const entry = kept.entries.get(place.roomNid)
      if (
        entry?.place !== place ||
        (withTraits && !entry.traits) ||
        reader.positions.roomChanged(place.shard, place.roomNid, entry.at) !== false
      )
        stale.push(place)
    }
    if (stale.length > 0) {
      const { lookedAt } = kept
      // What the user was told is in order was so when they looked last.
      const floorOf = (roomNid: number) => (kept.entries.has(roomNid) ? lookedAt : 0)
      const facts = await rooms.read(reader, stale, vector, { withTraits, floorOf })
      const moved: Entry[] = []
      for (const place of stale) {
        const known = facts.get(place.roomNid)
        if (!known) continue
        const { at, stamp, sentAt, bump, traits } = known
        const entry = { place, at, stamp, sentAt, bump: bump || stamp, traits }
        kept.entries.set(place.roomNid, entry)
        moved.push(entry)
      }
      kept.sorted = inOrder(kept, moved)
    }
    if (kept.places !== places) {
      const left = new Set(kept.entries.keys())
      for (const { membership, roomNid } of places) if (membership === 'join') left.delete(roomNid)
      for (const roomNid of left) kept.entries.delete(roomNid)
      if (left.size > 0)
        kept.sorted = kept.sorted.filter((entry) => kept.entries.get(entry.place.roomNid) === entry)
    }
    Object.assign(kept, { lookedAt: now, places, vector, withTraits })
    this.#users.set(userId, kept, { size: kept.entries.size + 1 })
    return kept.sorted
  }
}

function inOrder({ entries, sorted }: Kept, moved: readonly Entry[]): Entry[] {
  if (moved.length > maxMoves) return [...entries.values()].sort(byActivity)
  const order = sorted.filter((entry) => entries.get(entry.place.roomNid) === entry)
  for (const entry of moved) {
    // Another request of the user may have put it there.
    if (entries.get(entry.place.roomNid) !== entry) continue
    let [low, high] = [0, order.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (byActivity(order[middle]!, entry) < 0) low = middle + 1
      else high = middle
    }
    order.splice(low, 0, entry)
  }
  return order
}
