import type { JsonObject } from '#core/json.ts'

/**
 * The push rules that every user has, as clients read them.
 *
 * Spec: client-server-api/#predefined-rules
 */
export type PushRule = Readonly<{
  rule_id: string
  default: boolean
  enabled: boolean
  conditions?: readonly JsonObject[]
  /** Of `content` rules only. */
  pattern?: string
  actions: readonly (string | JsonObject)[]
}>

/** In the order in which kinds are tried. */
export const ruleKinds = ['override', 'content', 'room', 'sender', 'underride'] as const
export type RuleKind = (typeof ruleKinds)[number]
export type PushRuleset = Readonly<Record<RuleKind, readonly PushRule[]>>

const match = (key: string, pattern: string): JsonObject => ({ kind: 'event_match', key, pattern })
const type = (pattern: string): JsonObject => match('type', pattern)
const is = (key: string, value: string | boolean): JsonObject => ({
  kind: 'event_property_is',
  key,
  value,
})
const twoMembers: JsonObject = { kind: 'room_member_count', is: '2' }

const sound = (value: string): JsonObject => ({ set_tweak: 'sound', value })
const highlight: JsonObject = { set_tweak: 'highlight' }

const rule = (
  name: string,
  conditions: readonly JsonObject[],
  actions: PushRule['actions'],
): PushRule => ({
  rule_id: `.m.rule.${name}`,
  default: true,
  // Only the rule that silences everything waits to be turned on.
  enabled: name !== 'master',
  conditions,
  actions,
})

/** The default rules of a user. */
export function defaultRules(userId: string): PushRuleset {
  return {
    override: [
      rule('master', [], []),
      rule('suppress_notices', [match('content.msgtype', 'm.notice')], []),
      rule(
        'invite_for_me',
        [type('m.room.member'), match('content.membership', 'invite'), match('state_key', userId)],
        ['notify', sound('default')],
      ),
      rule('member_event', [type('m.room.member')], []),
      rule(
        'is_user_mention',
        [
          {
            kind: 'event_property_contains',
            key: 'content.m\\.mentions.user_ids',
            value: userId,
          },
        ],
        ['notify', sound('default'), highlight],
      ),
      rule(
        'is_room_mention',
        [
          is('content.m\\.mentions.room', true),
          { kind: 'sender_notification_permission', key: 'room' },
        ],
        ['notify', highlight],
      ),
      rule('tombstone', [type('m.room.tombstone'), match('state_key', '')], ['notify', highlight]),
      rule('reaction', [type('m.reaction')], []),
      rule('room.server_acl', [type('m.room.server_acl'), match('state_key', '')], []),
      rule('suppress_edits', [is('content.m\\.relates_to.rel_type', 'm.replace')], []),
    ],
    content: [],
    room: [],
    sender: [],
    underride: [
      rule('call', [type('m.call.invite')], ['notify', sound('ring')]),
      rule(
        'encrypted_room_one_to_one',
        [twoMembers, type('m.room.encrypted')],
        ['notify', sound('default')],
      ),
      rule('room_one_to_one', [twoMembers, type('m.room.message')], ['notify', sound('default')]),
      rule('message', [type('m.room.message')], ['notify']),
      rule('encrypted', [type('m.room.encrypted')], ['notify']),
    ],
  }
}
