import type { Pool } from '#store/db.ts'
import type { RoomPart } from '#store/room/batch.ts'
import type { SnapshotCache } from '#store/room/snapshot-cache.ts'
import { load, type Made, make, makeWhole, type Snapshot } from '#store/room/snapshots.ts'
import type { Shard } from '#store/room/shards.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** The states of rooms: from memory, or from the snapshots in the database. */
export class States {
  readonly #sql: Pool
  readonly #cache: SnapshotCache

  constructor(sql: Pool, cache: SnapshotCache) {
    this.#sql = sql
    this.#cache = cache
  }

  /** The state before an event that we have in full. */
  *load(room: Room, known: Known): Task<StateMap> {
    const nid = known.snapshotNid
    if (nid === null) throw new Error(`the state before ${known.event.eventId} is not known`)
    const snapshot = room.unsaved.get(nid) ?? this.#cache.get(nid)
    if (snapshot) return snapshot.state
    const found = yield* wait(load(this.#sql, room.shard, room.nid, [nid], this.#cache))
    return found.get(nid)!.state
  }

  /**
   * The number of a state's snapshot, which is made, and put into the part, if there is none: on top of
   * that before the event which the state follows, if that is in memory. In a fork the newest of the room
   * is of another branch, and the difference to that would be all that is between them.
   */
  save(room: Room, shard: Shard, state: StateMap, part: RoomPart, prev?: Known): number {
    if (room.lastSnapshot?.state === state) return room.lastSnapshot.nid
    const same = this.#cache.findSame(room.nid, state)
    if (same) return same.nid
    const prevNid = prev?.snapshotNid ?? null
    const parent =
      prevNid === null ? undefined : (room.unsaved.get(prevNid) ?? this.#cache.get(prevNid))
    const older = parent ?? room.lastSnapshot
    const nid = shard.nextNid()
    const changes = older && new Map(older.state.diff(state).map(({ key, new: now }) => [key, now]))
    const made =
      older && changes ? make(nid, older, changes, state) : makeWhole(nid, room.nid, state)
    return this.keep(room, made, part)
  }

  /** Remembers a snapshot that was made, and puts it into the part; its number. */
  keep(room: Room, { snapshot, row }: Made, part: RoomPart): number {
    this.#cache.add(snapshot)
    room.unsaved.set(snapshot.nid, snapshot)
    room.lastSnapshot = snapshot
    part.snapshots.push(row)
    return snapshot.nid
  }

  /** The newest snapshot of a room that is in memory: a younger one is made on top of it. */
  newest(room: Room): Snapshot | undefined {
    const last = [...room.extremities.values()].at(-1)
    const nid = last?.known.snapshotNid ?? null
    return nid === null ? undefined : this.#cache.get(nid)
  }

  /** Forgets what was made for a room and not committed. */
  forget(room: Room): void {
    for (const nid of room.unsaved.keys()) this.#cache.remove(nid)
  }
}
