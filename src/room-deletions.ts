import type { EventIndex } from '#engine/read/event-index.ts'
import type { Positions } from '#engine/read/positions.ts'
import { RoomDeletions } from '#engine/user/room-deletions.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'

export type DeletionParts = {
  config: Config
  log: Log
  database: { sql: Pool }
  /** What is started is put here, to be stopped in reverse. */
  started: AsyncDisposableStack
}

/** What deletes rooms; it goes on with those that a stop has interrupted. */
export function startDeletions(
  { config, log, database: { sql }, started }: DeletionParts,
  rooms: Rooms,
  positions: Positions,
  eventIndex: EventIndex,
): RoomDeletions {
  const deletions = new RoomDeletions({
    sql,
    rooms,
    serverName: config.server_name,
    clock: Date.now,
    onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
    indexed: (shard) => eventIndex.reach([shard]),
    onFault: (error, roomId) => log.warn({ err: error, room: roomId }, 'a room was not deleted'),
  })
  started.defer(() => deletions.close())
  deletions.wake()
  return deletions
}
