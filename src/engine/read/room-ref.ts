import { type RoomVersion, roomVersions } from '#core/room-version.ts'

/** What never changes of a room. */
export type RoomRef = {
  readonly shard: number
  readonly roomNid: number
  readonly roomId: string
  readonly version: RoomVersion
}

/** Undefined for a room of a version that this release does not know: after a rollback. */
export function toRef(row: {
  shard: number
  room_nid: number
  room_id: string
  version: string
}): RoomRef | undefined {
  const version = roomVersions.get(row.version)
  return version && { shard: row.shard, roomNid: row.room_nid, roomId: row.room_id, version }
}
