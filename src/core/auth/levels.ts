import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { creatorsOf } from '#core/content/m.room.create.ts'
import { isObject } from '#core/json.ts'
import { defaultLevels, readLevel, type LevelName } from '#core/content/m.room.power_levels.ts'

/**
 * Power levels as the auth rules read them.
 *
 * A malformed level is NaN, which compares with nothing: rules ask whether a level *suffices*, never
 * whether it is too low, so what cannot be read permits nothing.
 *
 * Spec: client-server-api/#mroompower_levels
 */
export type Level = number

export const namedLevels = Object.keys(defaultLevels) as readonly LevelName[]

/** Reads one level as its room version writes it; NaN if it is none. */
export const levelOf = (value: Json, version: RoomVersion): Level =>
  readLevel(version, value) ?? NaN

/**
 * Reads an own property; `__proto__` and `constructor` are ordinary names in JSON. A null counts as
 * absent: v1–v9 have rooms with such levels, and v10+ refuses them before they are read.
 */
export function entry(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? (object[key] ?? undefined) : undefined
}

/** Reads `events`, `notifications` or `users`; what is no object (v1–v9) has no entries. */
export function levelMap(content: JsonObject, name: string): JsonObject {
  const map = entry(content, name)
  return isObject(map) ? map : {}
}

/** The level of a named property, or its default; also when the room has no power levels yet. */
export function namedLevel(powerLevels: RoomEvent | undefined, name: LevelName): Level {
  const value = powerLevels && entry(powerLevels.content, name)
  return value === undefined ? defaultLevels[name] : levelOf(value, powerLevels!.version)
}

/** The level that sending an event of this type takes. */
export function requiredLevel(
  powerLevels: RoomEvent | undefined,
  type: string,
  isState: boolean,
): Level {
  if (powerLevels !== undefined) {
    const value = entry(levelMap(powerLevels.content, 'events'), type)
    if (value !== undefined) return levelOf(value, powerLevels.version)
  }
  return namedLevel(powerLevels, isState ? 'state_default' : 'events_default')
}

/** The level of a user: infinite for a creator in v12+. */
export function userLevel(
  create: RoomEvent,
  powerLevels: RoomEvent | undefined,
  userId: string,
): Level {
  if (create.version.privilegedCreators && isCreator(create, userId)) return Infinity
  // Without power levels the creator has 100, and all others 0.
  if (powerLevels === undefined) return isCreator(create, userId) ? 100 : 0
  const value = entry(levelMap(powerLevels.content, 'users'), userId)
  if (value !== undefined) return levelOf(value, powerLevels.version)
  return namedLevel(powerLevels, 'users_default')
}

/** Tells whether a user created the room, or counts as having done so (v12+). */
export const isCreator = (create: RoomEvent, userId: string): boolean =>
  creatorsOf(create).includes(userId)
