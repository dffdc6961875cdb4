import { isObject, type Json, type JsonObject, without } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import {
  defaultLevels,
  type LevelName,
  type PowerLevels,
  readLevel,
} from './m.room.power_levels.ts'

/**
 * The power levels of a room as the room that replaces it can have them, every default written out:
 * levels that are no integers become such, and creators stand where the new version wants them.
 */
export function nextPowerLevels(
  old: PowerLevels,
  version: RoomVersion,
  creators: ReadonlySet<string>,
): JsonObject {
  const { content = {} } = old
  const levels: JsonObject = { ...defaultLevels }
  for (const name of Object.keys(defaultLevels) as LevelName[]) {
    const level = readLevel(old.version, content[name])
    if (level !== undefined) levels[name] = level
  }
  levels['events'] = levelsIn(old.version, content['events'])
  if (isObject(content['notifications']))
    levels['notifications'] = levelsIn(old.version, content['notifications'])
  const users = levelsIn(old.version, content['users'])
  // Before v12 creators have what is written, or 100 without the event. Since then they have all power
  // of their room, and of the next one only if they are named to be its creators.
  if (old.version.privilegedCreators ? !version.privilegedCreators : !old.content)
    for (const user of old.creators) users[user] = Math.max(100, Number(users[user] ?? 0))
  // v12+: creators are not named.
  levels['users'] = version.privilegedCreators ? without(users, ...creators) : users
  return levels
}

function levelsIn(version: RoomVersion, map: Json | undefined): JsonObject {
  const levels: JsonObject = {}
  if (!isObject(map)) return levels
  for (const [key, value] of Object.entries(map)) {
    const level = readLevel(version, value)
    if (level !== undefined) levels[key] = level
  }
  return levels
}

/** The same, but that one user may do everything. */
export function withPower(levels: JsonObject, userId: string): JsonObject {
  const events = Object.values(levels['events'] as JsonObject)
  const named = (Object.keys(defaultLevels) as LevelName[]).map((name) => levels[name])
  const users = levels['users'] as JsonObject
  const all = [...events, ...named, ...Object.values(users)].map(Number)
  return { ...levels, users: { ...users, [userId]: Math.max(100, ...all) } }
}
