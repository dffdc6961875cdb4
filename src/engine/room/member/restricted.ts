import { type Level, levelMap, namedLevel, userLevel } from '#core/auth/levels.ts'
import { creatorsOf } from '#core/content/m.room.create.ts'
import { allowedRoomsOf, isRestricted, joinRuleOf } from '#core/content/m.room.join_rules.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { forbidden, MatrixError } from '#core/error.ts'
import type { StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import * as findMembers from '#store/room/find-members.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Members that are looked at where everybody may invite but those whom the power levels name. */
const maxMembers = 500

/**
 * The user of ours who vouches for a join under a restricted rule; undefined where none is needed,
 * since the room is public, or the user is in it or invited, and where none would help.
 *
 * Spec: server-server-api/#restricted-rooms
 */
export function* authoriserFor(
  parts: Parts,
  room: Room,
  userId: string,
  state: StateLookup,
): Task<string | undefined> {
  if (!(yield* requireCondition(parts, room, userId, state))) return undefined
  const authoriser = yield* findAuthoriser(parts, room, state)
  if (authoriser === undefined) throw unableToGrant()
  return authoriser
}

/** The same where the join names the user of ours who is to vouch for it. */
export function* requireAuthoriser(
  parts: Parts,
  room: Room,
  userId: string,
  authoriser: string,
  state: StateLookup,
): Task<void> {
  if (!(yield* requireCondition(parts, room, userId, state))) return
  const membership = membershipOf(state('m.room.member', authoriser)?.content)
  const levels = state('m.room.power_levels', '')
  const level = userLevel(room.create!, levels, authoriser)
  if (membership !== 'join' || !(level >= namedLevel(levels, 'invite'))) throw unableToGrant()
}

const unableToGrant = () =>
  new MatrixError(
    400,
    'M_UNABLE_TO_GRANT_JOIN',
    'No user of this server in the room may invite others',
  )

/** Whether somebody has to vouch for a join; throws if the user meets no condition for that. */
function* requireCondition(
  parts: Parts,
  room: Room,
  userId: string,
  state: StateLookup,
): Task<boolean> {
  const rules = state('m.room.join_rules', '')?.content
  if (!rules || !isRestricted(room.version, joinRuleOf(rules))) return false
  const membership = membershipOf(state('m.room.member', userId)?.content)
  // Who is banned is refused by the auth rules, whatever rooms they are in.
  if (membership === 'join' || membership === 'invite' || membership === 'ban') return false
  const rooms = new Set(allowedRoomsOf(rules))
  const own = parts.signing.serverName
  const known = yield* wait(
    findMembers.joinedIn(parts.sql, userId, [...rooms], own).then((list) => list),
  )
  if (known.some(({ joined }) => joined)) return true
  if (known.length === rooms.size)
    throw forbidden('The user is in none of the rooms whose members may join')
  throw new MatrixError(
    400,
    'M_UNABLE_TO_AUTHORISE_JOIN',
    'This server is not in all of the rooms whose members may join',
  )
}

const findAuthoriser = (parts: Parts, room: Room, state: StateLookup) => {
  const levels = state('m.room.power_levels', '')
  return localWith(parts, room, levels, namedLevel(levels, 'invite'))
}

/** A user of ours who is joined and has this power, by the power levels of the room. */
export function* localWith(
  parts: Parts,
  room: Room,
  levels: RoomEvent | undefined,
  needed: Level,
): Task<string | undefined> {
  const own = parts.signing.serverName
  const may = (user: string) => userLevel(room.create!, levels, user) >= needed
  const named = new Set(levels && Object.keys(levelMap(levels.content, 'users')))
  for (const creator of creatorsOf(room.create!)) named.add(creator)
  const candidates = [...named].filter(
    (user) => isUserId(user) && domainOf(user) === own && may(user),
  )
  if (candidates.length > 0) {
    const joined = findMembers.joinedAmong(parts.sql, room.shard, room.nid, candidates)
    const [found] = yield* wait(joined.then((list) => list))
    if (found) return found.user_id
  }
  if (!(namedLevel(levels, 'users_default') >= needed)) return undefined
  const numbers = yield* wait(parts.interner.intern({ servers: [own] }))
  const members = findMembers.joinedOf(
    parts.sql,
    room.shard,
    room.nid,
    numbers.server(own),
    maxMembers,
  )
  return (yield* wait(members.then((list) => list)))
    .map((row) => row.user_id)
    .find((user) => may(user))
}
