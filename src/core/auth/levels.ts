import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { isObject, numberOf } from '#core/json.ts'

/**
 * Power levels as the auth rules read them.
 *
 * A malformed level is NaN, which compares with nothing: rules ask whether a level *suffices*, never
 * whether it is too low, so what cannot be read permits nothing.
 *
 * Spec: client-server-api/#mroompower_levels
 */
export type Level = number

export type NamedLevel =
  'users_default' | 'events_default' | 'state_default' | 'ban' | 'redact' | 'kick' | 'invite'

const defaults: Readonly<Record<NamedLevel, Level>> = {
  users_default: 0,
  events_default: 0,
  state_default: 50,
  ban: 50,
  redact: 50,
  kick: 50,
  invite: 0,
}
export const namedLevels = Object.keys(defaults) as readonly NamedLevel[]

/** Reads one level as its room version writes it; NaN if it is none. */
export function readLevel(value: Json, version: RoomVersion): Level {
  if (version.integerPowerLevels) return Number.isSafeInteger(value) ? Number(value) : NaN
  // v1–v9: a float counts as its integer part.
  const number = numberOf(value)
  if (number !== undefined) return Number.isFinite(number) ? Math.trunc(number) : NaN
  // v1–v9: so does a string that is an integer, with spaces and leading zeroes.
  if (typeof value !== 'string' || !integerText.test(value)) return NaN
  const level = Number(value)
  return Number.isFinite(level) ? level : NaN
}
const integerText = /^\s*[+-]?[0-9]+\s*$/

/**
 * Reads an own property; `__proto__` and `constructor` are ordinary names in JSON. A null counts as
 * absent: v1–v9 have rooms with such levels, and v10+ refuses them before they are read.
 */
export function entry(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? (object[key] ?? undefined) : undefined
}

/** Reads `events`, `notifications` or `users`: absent is empty, undefined is not an object. */
export function levelMap(content: JsonObject, name: string): JsonObject | undefined {
  const map = entry(content, name)
  if (map === undefined) return {}
  return isObject(map) ? map : undefined
}

/** The level of a named property, or its default; also when the room has no power levels yet. */
export function namedLevel(powerLevels: RoomEvent | undefined, name: NamedLevel): Level {
  const value = powerLevels && entry(powerLevels.content, name)
  return value === undefined ? defaults[name] : readLevel(value, powerLevels!.version)
}

/** The level that sending an event of this type takes. */
export function requiredLevel(
  powerLevels: RoomEvent | undefined,
  type: string,
  isState: boolean,
): Level {
  if (powerLevels !== undefined) {
    const events = levelMap(powerLevels.content, 'events')
    if (events === undefined) return NaN
    const value = entry(events, type)
    if (value !== undefined) return readLevel(value, powerLevels.version)
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
  const users = levelMap(powerLevels.content, 'users')
  if (users === undefined) return NaN
  const value = entry(users, userId)
  if (value !== undefined) return readLevel(value, powerLevels.version)
  return namedLevel(powerLevels, 'users_default')
}

/** Tells whether a user created the room, or counts as having done so (v12+). */
export function isCreator(create: RoomEvent, userId: string): boolean {
  // v1–v10: the creator is named in the content.
  if (create.version.creatorInContent) return create.content['creator'] === userId
  if (create.sender === userId) return true
  // v12+: `additional_creators` are creators too.
  if (!create.version.privilegedCreators) return false
  const additional = create.content['additional_creators']
  return Array.isArray(additional) && additional.includes(userId)
}
