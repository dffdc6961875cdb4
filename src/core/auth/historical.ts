import type { RoomEvent } from '#core/event/pdu.ts'
import { allow, reject, type Verdict } from '#core/verdict.ts'
import { entry, levelOf } from './levels.ts'
import type { RoomState } from './room.ts'

/** Whoever has the power of a room's creator puts in history, unless the power levels say otherwise. */
const defaultLevel = 100

/** MSC2716: what ties history together takes the power `historical`. */
export function authorizeHistorical({ sender, version }: RoomEvent, room: RoomState): Verdict {
  const value = room.powerLevels && entry(room.powerLevels.content, 'historical')
  const required = value === undefined ? defaultLevel : levelOf(value, version)
  return room.levelOf(sender) >= required
    ? allow
    : reject("The sender's power is too low to put in history")
}
