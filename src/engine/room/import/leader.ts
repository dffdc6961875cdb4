import { membershipOf } from '#core/content/m.room.member.ts'
import {
  eventLevel,
  namedLevel,
  powerLevels,
  userLevel,
} from '#core/content/m.room.power_levels.ts'
import type { AuthSubject, StateKey } from '#core/event/auth-events.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import { isObject } from '#core/json.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/** A user of ours who invites, and ties an import into its room. */
export type Leader = {
  userId: string
  mayInvite: boolean
  /** May send the state event by which clients learn that there is more to read. */
  mayMark: boolean
}

export const markerType = 'org.matrix.msc2716.marker'
/** Of those who were given power; more than any room has. */
const maxCandidates = 100

/** The room's creator, if that is a user of ours who is joined; else whoever of ours has the most power. */
export function* leaderOf(
  parts: Parts,
  room: Room,
  state: StateMap,
  more: readonly string[] = [],
): Task<Leader | undefined> {
  const creator = room.create?.sender
  const ask = (users: readonly string[]) => asked(parts, room, state, users)
  const { serverName } = parts.signing
  const first = yield* ask([])
  const named = first.levels.content?.['users']
  const candidates = [
    ...(creator === undefined ? [] : [creator]),
    ...(isObject(named) ? Object.keys(named) : []),
    ...more,
  ].filter((user) => isUserId(user) && domainOf(user) === serverName)
  const wanted = [...new Set(candidates)].slice(0, maxCandidates)
  const { levels, joined } = yield* ask(wanted)
  const rank = (user: string) => (user === creator ? Infinity : userLevel(levels, user))
  const best = wanted.filter((user) => joined.has(user)).sort((a, b) => rank(b) - rank(a))[0]
  if (best === undefined) return undefined
  const own = userLevel(levels, best)
  return {
    userId: best,
    mayInvite: own >= namedLevel(levels, 'invite'),
    mayMark: own >= eventLevel(levels, markerType, true),
  }
}

function* asked(parts: Parts, room: Room, state: StateMap, users: readonly string[]) {
  const subjects: AuthSubject[] = users.map((sender) => ({
    version: room.version,
    type: 'm.room.message',
    stateKey: undefined,
    sender,
    content: {},
  }))
  const keys: StateKey[] = [
    ['m.room.power_levels', ''],
    ...users.map((user) => ['m.room.member', user] as const),
  ]
  const any: AuthSubject = {
    version: room.version,
    type: 'm.room.message',
    stateKey: undefined,
    sender: room.create?.sender ?? '@:',
    content: {},
  }
  const numbers = yield* numbersFor(parts.interner, room.create ? [any, ...subjects] : subjects)
  const lookup = yield* lookupIn(parts, room, state, keys, numbers)
  const isJoined = (user: string) => membershipOf(lookup('m.room.member', user)?.content) === 'join'
  return {
    levels: powerLevels(room.version, lookup('m.room.power_levels', '')?.content, room.create),
    joined: new Set(users.filter(isJoined)),
  }
}

/** Whether a user is joined in a state and may mark an import there. */
export function* mayMark(parts: Parts, room: Room, state: StateMap, userId: string): Task<boolean> {
  const { levels, joined } = yield* asked(parts, room, state, [userId])
  return joined.has(userId) && userLevel(levels, userId) >= eventLevel(levels, markerType, true)
}
