import { expect, test } from 'bun:test'
import { defaultRules, type PushRuleset } from '#core/push/default-rules.ts'
import { rulesOfReplacement } from '#core/push/replaced-room.ts'
import { editRules } from '#core/push/ruleset.ts'

const [from, to] = ['!from:x.test', '!to:x.test']
const here = (room: string) => ({ kind: 'event_match', key: 'room_id', pattern: room })
const put = (
  rules: PushRuleset,
  kind: 'override' | 'room' | 'underride',
  rule: object,
  id = from,
) => editRules(rules, { edit: 'put', kind, ruleId: id, rule: { actions: [], ...rule } as never })
const moved = (rules: PushRuleset) =>
  rulesOfReplacement(rules, from, to).reduce((all, edit) => editRules(all, edit), rules)

test('the rules of a room are those of the room that replaces it, turned off if they were', () => {
  const body = { kind: 'event_match', key: 'content.body', pattern: 'hi' }
  let rules = put(defaultRules('@a:x.test'), 'room', { actions: ['notify'] })
  rules = put(rules, 'override', { conditions: [body, here(from), here('!else:x.test')] })
  rules = editRules(rules, { edit: 'enable', kind: 'override', ruleId: from, enabled: false })
  const after = moved(rules)
  const find = (kind: 'override' | 'room') => after[kind].find((rule) => rule.rule_id === to)
  expect(find('room')).toMatchObject({ actions: ['notify'], enabled: true, default: false })
  expect(find('override')).toMatchObject({
    conditions: [body, here(to), here('!else:x.test')],
    enabled: false,
  })
  // Nothing of the old room is lost, and nothing comes twice.
  expect(after.room.some((rule) => rule.rule_id === from)).toBe(true)
  expect(rulesOfReplacement(after, from, to)).toEqual([])
})

test('rules that do not ask for the room, and those of the new room, stay as they are', () => {
  let rules = put(defaultRules('@a:x.test'), 'override', { conditions: [] })
  rules = put(rules, 'underride', { conditions: [here(from)] }, 'other')
  rules = put(put(rules, 'room', {}), 'room', { actions: ['notify'] }, to)
  expect(rulesOfReplacement(rules, from, to)).toEqual([])
})
