import { eventLevel, powerLevels, userLevel } from '#core/content/m.room.power_levels.ts'
import { readKeys } from '#engine/read/state-at.ts'
import type { RoomAccess } from '#engine/read/room.ts'
import type { Context } from '#src/context.ts'

/** Whether a user's level is that of sending a state event of this type, as the room is now. */
export async function maySendState(
  { sql, positions }: Context,
  { room }: Pick<RoomAccess, 'room'>,
  userId: string,
  type: string,
): Promise<boolean> {
  const { rooms } = await positions.settled()
  const state = await readKeys(sql, { room }, rooms[room.shard]!, [
    { type: 'm.room.create', stateKey: '' },
    { type: 'm.room.power_levels', stateKey: '' },
  ])
  const find = (wanted: string) => state.find(({ event }) => event.type === wanted)?.event
  const levels = powerLevels(
    room.version,
    find('m.room.power_levels')?.content,
    find('m.room.create'),
  )
  return userLevel(levels, userId) >= eventLevel(levels, type, true)
}
