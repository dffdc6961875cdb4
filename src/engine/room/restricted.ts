import { userLevel, namedLevel } from '#core/auth/levels.ts'
import { allowedRoomsOf, isRestricted, joinRuleOf } from '#core/content/m.room.join_rules.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { forbidden, MatrixError } from '#core/error.ts'
import type { StateLookup } from '#core/event/auth-events.ts'
import { domainOf } from '#core/ids.ts'
import { isObject } from '#core/json.ts'
import * as findMembers from '#store/room/find-members.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Local members that are looked at for the power to invite. */
const maxAuthorisers = 500

/**
 * The user of ours who vouches for a join under a restricted rule; undefined where none is needed,
 * since the room is public, or the user is in it or invited.
 *
 * Spec: server-server-api/#restricted-rooms
 */
export function* authoriserFor(
  parts: Parts,
  room: Room,
  userId: string,
  state: StateLookup,
): Task<string | undefined> {
  const rules = state('m.room.join_rules', '')?.content
  if (!rules || !isRestricted(room.version, joinRuleOf(rules))) return undefined
  const membership = membershipOf(state('m.room.member', userId)?.content)
  if (membership === 'join' || membership === 'invite') return undefined
  const rooms = allowedRoomsOf(rules)
  if (!(yield* wait(findMembers.isJoinedToAny(parts.sql, userId, rooms)))) throw notAllowed(rules)
  const authoriser = yield* findAuthoriser(parts, room, state)
  if (authoriser === undefined)
    throw new MatrixError(
      400,
      'M_UNABLE_TO_GRANT_JOIN',
      'No user of this server in the room may invite others',
    )
  return authoriser
}

/** Whether we know that no condition is met, or cannot tell. */
function notAllowed(rules: NonNullable<ReturnType<StateLookup>>['content']): MatrixError {
  const allow = Array.isArray(rules['allow']) ? rules['allow'] : []
  const strange = allow.some((entry) => isObject(entry) && entry['type'] !== 'm.room_membership')
  return strange
    ? new MatrixError(400, 'M_UNABLE_TO_AUTHORISE_JOIN', 'A condition of the room is not known')
    : forbidden('You are in none of the rooms whose members may join')
}

function* findAuthoriser(parts: Parts, room: Room, state: StateLookup): Task<string | undefined> {
  const levels = state('m.room.power_levels', '')
  const own = parts.signing.serverName
  const needed = namedLevel(levels, 'invite')
  const numbers = yield* wait(parts.interner.intern({ servers: [own] }))
  const members = yield* wait(
    findMembers
      .joinedOf(parts.sql, room.shard, room.nid, numbers.server(own), maxAuthorisers)
      .then((list) => list),
  )
  return members
    .map((row) => row.user_id)
    .find((user) => domainOf(user) === own && userLevel(room.create!, levels, user) >= needed)
}
