import { expect, test } from 'bun:test'
import { defaultRules, ruleKinds } from '#core/push/default-rules.ts'

const rules = defaultRules('@me:hs1')

test('there are fifteen, in the order of the spec', () => {
  expect(ruleKinds.flatMap((kind) => rules[kind].map((rule) => rule.rule_id))).toEqual([
    '.m.rule.master',
    '.m.rule.suppress_notices',
    '.m.rule.invite_for_me',
    '.m.rule.member_event',
    '.m.rule.is_user_mention',
    '.m.rule.is_room_mention',
    '.m.rule.tombstone',
    '.m.rule.reaction',
    '.m.rule.room.server_acl',
    '.m.rule.suppress_edits',
    '.m.rule.call',
    '.m.rule.encrypted_room_one_to_one',
    '.m.rule.room_one_to_one',
    '.m.rule.message',
    '.m.rule.encrypted',
  ])
})

test('all but the master rule are enabled', () => {
  const disabled = [...rules.override, ...rules.underride].filter((rule) => !rule.enabled)
  expect(disabled.map((rule) => rule.rule_id)).toEqual(['.m.rule.master'])
})

test('those about the user name the user', () => {
  expect(rules.override[2]!.conditions).toContainEqual({
    kind: 'event_match',
    key: 'state_key',
    pattern: '@me:hs1',
  })
  expect(rules.override[4]).toEqual({
    rule_id: '.m.rule.is_user_mention',
    default: true,
    enabled: true,
    conditions: [
      {
        kind: 'event_property_contains',
        key: 'content.m\\.mentions.user_ids',
        value: '@me:hs1',
      },
    ],
    actions: ['notify', { set_tweak: 'sound', value: 'default' }, { set_tweak: 'highlight' }],
  })
})

test('they are plain JSON', () => {
  expect(JSON.parse(JSON.stringify(rules))).toEqual(rules)
})
