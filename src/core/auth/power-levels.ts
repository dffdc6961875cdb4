import { allow, reject, type Verdict } from '#core/verdict.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { creatorsOf } from '#core/content/m.room.create.ts'
import { isUserId } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { levelMap, namedLevels, levelOf, type Level } from './levels.ts'
import type { RoomState } from './room.ts'

/**
 * Rule 10 of v1–v5 and v12+, 9 of v6–v11: `m.room.power_levels`. The numbers are those of v12.
 *
 * Spec: rooms/v12/#authorization-rules
 */
export function authorizePowerLevels(event: RoomEvent, room: RoomState): Verdict {
  const { content, version } = event
  const formed = checkForm(content, version)
  if (!formed.allowed) return formed
  // 10.4, v12+: users names a creator: reject.
  if (version.privilegedCreators) {
    const users = levelMap(content, 'users')
    if (creatorsOf(room.create).some((creator) => Object.hasOwn(users, creator)))
      return reject('The power of a creator cannot be set')
  }
  // 10.5: The room has no power levels yet: allow.
  if (room.powerLevels === undefined) return allow
  return checkChanges(room.powerLevels.content, content, event.sender, room)
}

function checkForm(content: JsonObject, version: RoomVersion): Verdict {
  const isLevel = (value: JsonObject[string]) => !Number.isNaN(levelOf(value, version))
  if (version.integerPowerLevels) {
    // 10.1, v10+: A named level is present, and not an integer: reject.
    for (const name of namedLevels)
      if (Object.hasOwn(content, name) && !isLevel(content[name]!))
        return reject(`${name} is not an integer`)
    // 10.2, v10+: events or notifications is present, and not an object of integers: reject.
    for (const name of ['events', 'notifications']) {
      if (!Object.hasOwn(content, name)) continue
      const map = content[name]
      if (!isObject(map) || !Object.values(map).every(isLevel))
        return reject(`${name} is not an object of integers`)
    }
  }
  // 10.3: users is not an object of user IDs and levels: reject. Absent, it is empty.
  if (Object.hasOwn(content, 'users')) {
    const { users } = content
    if (!isObject(users) || !Object.keys(users).every(isUserId))
      return reject('users is not an object of user IDs')
    if (!Object.values(users).every(isLevel)) return reject('users has a level that is none')
  }
  return allow
}

function checkChanges(
  before: JsonObject,
  after: JsonObject,
  sender: string,
  room: RoomState,
): Verdict {
  const own = room.levelOf(sender)
  const atMost = (level: Level) => level <= own
  const below = (level: Level) => level < own
  const change = { before, after, version: room.version }
  // 10.6: A named level is added, changed or removed that is, or was, above the sender's: reject.
  for (const name of namedLevels)
    if (!mayChange(change, name, atMost, atMost))
      return reject(`The sender's power is too low to change ${name}`)
  // 10.7–10.8: Likewise an entry of events; from v6 on, of notifications.
  for (const name of room.version.notificationLevelsChecked
    ? ['events', 'notifications']
    : ['events']) {
    const maps = mapsOf(change, name)
    for (const key of keysOf(maps))
      if (!mayChange(maps, key, atMost, atMost))
        return reject(`The sender's power is too low to change ${name}: ${key}`)
  }
  const users = mapsOf(change, 'users')
  for (const key of keysOf(users)) {
    // 10.9: Another user's entry is changed or removed whose level is not below the sender's: reject.
    // 10.10: An entry is added or changed to a level above the sender's: reject.
    if (!mayChange(users, key, key === sender ? atMost : below, atMost))
      return reject(`The sender's power is too low to change that of ${key}`)
  }
  // 10.11: Otherwise allow.
  return allow
}

type Change = Readonly<{ before: JsonObject; after: JsonObject; version: RoomVersion }>

const mapsOf = ({ before, after, version }: Change, name: string): Change => ({
  before: levelMap(before, name),
  after: levelMap(after, name),
  version,
})

const keysOf = ({ before, after }: Change) =>
  new Set([...Object.keys(before), ...Object.keys(after)])

/** Levels are compared, not how they are written: in v1–v9 "50" is 50. */
function mayChange(
  { before, after, version }: Change,
  key: string,
  old: (level: Level) => boolean,
  fresh: (level: Level) => boolean,
): boolean {
  const fromLevel = Object.hasOwn(before, key) ? levelOf(before[key]!, version) : undefined
  const toLevel = Object.hasOwn(after, key) ? levelOf(after[key]!, version) : undefined
  if (fromLevel === toLevel) return true
  return (fromLevel === undefined || old(fromLevel)) && (toLevel === undefined || fresh(toLevel))
}
