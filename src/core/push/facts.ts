import { notificationLevel, powerLevels, userLevel } from '#core/content/m.room.power_levels.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isObject } from '#core/json.ts'
import { threadRootOf } from '#core/relations.ts'

/**
 * What the default push rules ask of an event, where that is the same for all members: worked out
 * once when the event is stored, folded when unread counts are read.
 *
 * Spec: client-server-api/#predefined-rules
 */
export const pushFacts = {
  notify: 1,
  highlight: 2,
  /** It says that it is in a thread: which one stands in the event. */
  threaded: 4,
  /** Its sender could notify the whole room when it was sent: what users' own rules may ask. */
  roomNotifier: 8,
} as const

/** Not spec: more users than anybody mentions by hand. */
const maxMentions = 50

/** The power levels and the create event of the state in which an event was sent. */
export type PushState = { create: RoomEvent | undefined; powerLevels: RoomEvent | undefined }

/** The facts of one event. */
export function pushFactsOf(event: RoomEvent, state: PushState): number {
  const threaded = threadRootOf(event.content) === undefined ? 0 : pushFacts.threaded
  const notifier = mayMentionRoom(event, state) ? pushFacts.roomNotifier : 0
  return whatRulesAsk(event, notifier !== 0) | threaded | notifier
}

/** In the order in which the rules are tried. */
function whatRulesAsk(event: RoomEvent, mayNotifyRoom: boolean): number {
  const { type, stateKey, content } = event
  // .m.rule.suppress_notices, .m.rule.member_event (invites are the matter of one user)
  if (isSilent(event)) return 0
  // .m.rule.is_room_mention
  if (mentions(event)?.['room'] === true && mayNotifyRoom)
    return pushFacts.notify | pushFacts.highlight
  // .m.rule.tombstone
  if (type === 'm.room.tombstone' && stateKey === '') return pushFacts.notify | pushFacts.highlight
  // .m.rule.reaction, .m.rule.room.server_acl, .m.rule.suppress_edits
  if (type === 'm.reaction' || (type === 'm.room.server_acl' && stateKey === '')) return 0
  const relation = content['m.relates_to']
  if (isObject(relation) && relation['rel_type'] === 'm.replace') return 0
  // .m.rule.call, .m.rule.room_one_to_one and .m.rule.message, and the same for encrypted ones
  if (type === 'm.call.invite' || type === 'm.room.message' || type === 'm.room.encrypted')
    return pushFacts.notify
  return 0
}

/** The users whom an event mentions by name (.m.rule.is_user_mention). */
export function mentionedUsers(event: RoomEvent): string[] {
  const users = isSilent(event) ? undefined : mentions(event)?.['user_ids']
  if (!Array.isArray(users)) return []
  const texts = users.filter((user): user is string => typeof user === 'string')
  return [...new Set(texts.slice(0, maxMentions))].filter((user) => user !== event.sender)
}

/** Rules that come before those of mentions. */
const isSilent = ({ type, content }: RoomEvent): boolean =>
  content['msgtype'] === 'm.notice' || type === 'm.room.member'

function mentions({ content }: RoomEvent) {
  const found = content['m.mentions']
  return isObject(found) ? found : undefined
}

/** The condition `sender_notification_permission`. */
function mayMentionRoom({ version, sender }: RoomEvent, state: PushState): boolean {
  const levels = powerLevels(version, state.powerLevels?.content, state.create)
  return userLevel(levels, sender) >= notificationLevel(levels, 'room')
}
