import type { EngineOptions } from '#engine/room/engine.ts'
import type { RoomWish } from '#engine/room/local/plan-room.ts'
import { type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import type { TestDatabase } from '#test/database.ts'
import { createRoom, joinFrom, openStage, type Stage } from '#test/room-engine.ts'

/** Other servers, and a user of the first. */
export const there = new MadeUpServer('there.test')
export const other = new MadeUpServer('other.test')
export const mallory = there.user('mallory')

export type Scene = Stage & {
  /** A room that alice has made and mallory has joined. */
  roomId: string
  /** The same as mallory's server sees it. */
  room: MadeUpRoom
}

/** An engine with a room in which another server is. */
export async function openScene(
  database: TestDatabase,
  options: Partial<EngineOptions> & { version?: string; wish?: Partial<RoomWish> } = {},
): Promise<Scene> {
  const { version, wish, ...changes } = options
  const stage = await openStage(database, [there, other], changes)
  const roomId = await createRoom(stage, version, wish)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  return { ...stage, roomId, room }
}
