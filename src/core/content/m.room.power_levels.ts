import { creatorsOf } from '#core/content/m.room.create.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isObject, type Json, type JsonObject, numberOf } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * Who may do what: the power levels of a room, with every default. Nothing is copied out of the
 * event, whose `users` may be thousands.
 *
 * Spec: client-server-api/#mroompower_levels
 */
export type PowerLevels = Readonly<{
  version: RoomVersion
  /** Undefined if the room has no such event. */
  content: JsonObject | undefined
  creators: ReadonlySet<string>
}>

/** The levels that `m.room.power_levels` sets by name, and what counts without it. */
export const defaultLevels = {
  users_default: 0,
  events_default: 0,
  state_default: 50,
  ban: 50,
  redact: 50,
  kick: 50,
  invite: 0,
} as const
export type LevelName = keyof typeof defaultLevels

/** The levels of a room with this power-levels event and this create event. */
export const powerLevels = (
  version: RoomVersion,
  content: JsonObject | undefined,
  create: RoomEvent | undefined,
): PowerLevels => ({ version, content, creators: new Set(create ? creatorsOf(create) : []) })

/** The level of a user; `Infinity` for a creator from v12 on. */
export function userLevel(levels: PowerLevels, userId: string): number {
  const { version, content, creators } = levels
  // v12+
  if (version.privilegedCreators && creators.has(userId)) return Infinity
  // Without the event the creator has 100 (v1–v11) and everybody else 0.
  if (!content) return creators.has(userId) ? 100 : 0
  return entryOf(version, content['users'], userId) ?? namedLevel(levels, 'users_default')
}

/** The level that an act needs: ban, kick, redact, invite, or one of the defaults. */
export function namedLevel({ version, content }: PowerLevels, name: LevelName): number {
  return readLevel(version, content?.[name]) ?? defaultLevels[name]
}

/** The level that sending an event of this type needs. */
export function eventLevel(levels: PowerLevels, type: string, isState: boolean): number {
  return (
    entryOf(levels.version, levels.content?.['events'], type) ??
    namedLevel(levels, isState ? 'state_default' : 'events_default')
  )
}

/** The level that a notification for all, such as `room`, needs. */
export const notificationLevel = ({ version, content }: PowerLevels, name: string): number =>
  entryOf(version, content?.['notifications'], name) ?? 50

function entryOf(version: RoomVersion, map: Json | undefined, key: string): number | undefined {
  return isObject(map) && Object.hasOwn(map, key) ? readLevel(version, map[key]) : undefined
}

/** One level, or undefined if the value is none in this room version. */
export function readLevel(version: RoomVersion, value: Json | undefined): number | undefined {
  // v10+: integers only.
  if (version.integerPowerLevels) return Number.isSafeInteger(value) ? (value as number) : undefined
  // v1–v9: a text that is an integer, with sign, zeros and white space around it.
  if (typeof value === 'string') return /^\s*[+-]?\d+\s*$/.test(value) ? finite(value) : undefined
  // v1–v5: floats too (canonical JSON keeps them out of v6–v9).
  return finite(numberOf(value))
}

/** Truncates; + 0 makes a −0 positive. */
function finite(value: string | number | undefined): number | undefined {
  const number = Math.trunc(Number(value))
  return Number.isFinite(number) ? number + 0 : undefined
}
