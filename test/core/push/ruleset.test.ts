import { expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import type { PushRuleset, RuleKind } from '#core/push/default-rules.ts'
import { type RuleEdit, editRules, maxOwnRules, rulesetOf } from '#core/push/ruleset.ts'

const me = '@me:hs.test'
const fresh = rulesetOf(me, undefined)
const put = (
  rules: PushRuleset,
  kind: RuleKind,
  ruleId: string,
  where: { before?: string; after?: string } = {},
  rule: JsonObject = {},
) =>
  editRules(rules, {
    edit: 'put',
    kind,
    ruleId,
    rule: { actions: [], pattern: 'x', ...rule },
    ...where,
  })
const ids = (rules: PushRuleset, kind: RuleKind) =>
  rules[kind].map((rule) => rule.rule_id).filter((id) => !id.startsWith('.'))

function errorOf(edit: () => unknown): string {
  try {
    edit()
  } catch (error) {
    if (error instanceof MatrixError) return `${error.status} ${error.errcode}`
    throw error
  }
  return 'none'
}

test('a new rule goes first among its kind, but below what silences everything', () => {
  const rules = put(put(fresh, 'override', 'one'), 'override', 'two')
  expect(rules.override.slice(0, 4).map((rule) => rule.rule_id)).toEqual([
    '.m.rule.master',
    'two',
    'one',
    '.m.rule.suppress_notices',
  ])
  expect(rules.override[1]).toEqual({
    rule_id: 'two',
    default: false,
    enabled: true,
    conditions: [],
    actions: [],
  })
})

test('a rule goes before or after another; an old one stays in its place and as enabled as it was', () => {
  let rules = put(put(put(fresh, 'content', 'c'), 'content', 'b'), 'content', 'a')
  rules = put(rules, 'content', 'd', { after: 'a' })
  expect(ids(rules, 'content')).toEqual(['a', 'd', 'b', 'c'])
  rules = put(rules, 'content', 'c', { before: 'd' })
  expect(ids(rules, 'content')).toEqual(['a', 'c', 'd', 'b'])
  rules = put(rules, 'content', 'b', { before: 'a', after: 'c' })
  expect(ids(rules, 'content')).toEqual(['b', 'a', 'c', 'd'])
  rules = editRules(rules, { edit: 'enable', kind: 'content', ruleId: 'c', enabled: false })
  rules = put(rules, 'content', 'c', {}, { pattern: 'new' })
  expect(ids(rules, 'content')).toEqual(['b', 'a', 'c', 'd'])
  expect(rules.content[2]).toMatchObject({ pattern: 'new', enabled: false })
})

test('what is wrong with a change is said', () => {
  const faults: [string, () => unknown][] = [
    ['400 M_UNKNOWN', () => put(fresh, 'content', 'x', { before: 'nobody' })],
    ['400 M_UNKNOWN', () => put(fresh, 'override', 'x', { after: '.m.rule.master' })],
    ['400 M_INVALID_PARAM', () => put(fresh, 'override', '.x')],
    ['400 M_INVALID_PARAM', () => put(fresh, 'override', 'a/b')],
    ['400 M_INVALID_PARAM', () => put(fresh, 'override', 'a\\b')],
    ['400 M_INVALID_PARAM', () => put(fresh, 'override', 'x'.repeat(256))],
    ['400 M_INVALID_PARAM', () => put(fresh, 'content', 'x', {}, { pattern: 7 })],
    ['400 M_INVALID_PARAM', () => put(fresh, 'override', 'x', {}, { conditions: [{}] })],
    ['400 M_INVALID_PARAM', () => put(fresh, 'override', 'x', {}, { actions: [{}] })],
    ['413 M_TOO_LARGE', () => put(fresh, 'content', 'x', {}, { pattern: 'x'.repeat(20_000) })],
    [
      '400 M_INVALID_PARAM',
      () => editRules(fresh, { edit: 'delete', kind: 'override', ruleId: '.m.rule.master' }),
    ],
  ]
  for (const [expected, fault] of faults) expect(errorOf(fault)).toBe(expected)
  const missing: RuleEdit = { edit: 'put', kind: 'content', ruleId: 'x', rule: { actions: [] } }
  expect(errorOf(() => editRules(fresh, missing))).toBe('400 M_MISSING_PARAM')
  expect(errorOf(() => editRules(fresh, { ...missing, rule: { pattern: 'x' } }))).toBe(
    '400 M_MISSING_PARAM',
  )
  for (const edit of [
    { edit: 'delete' },
    { edit: 'enable', enabled: true },
    { edit: 'act', actions: [] },
  ] as const)
    expect(
      errorOf(() => editRules(fresh, { ...edit, kind: 'room', ruleId: '!x:y' } as RuleEdit)),
    ).toBe('404 M_NOT_FOUND')
})

test('a user has a bounded number of rules, and may change those that they have', () => {
  let rules = fresh
  for (let n = 0; n < maxOwnRules; n++)
    rules = {
      ...rules,
      content: [
        ...rules.content,
        { rule_id: `r${n}`, default: false, enabled: true, pattern: 'x', actions: [] },
      ],
    }
  expect(errorOf(() => put(rules, 'sender', '@a:b'))).toBe('413 M_TOO_LARGE')
  expect(put(rules, 'content', 'r5', {}, { pattern: 'y' }).content[5]?.pattern).toBe('y')
})

test('of a stored default rule only what a user may change counts, and new default rules appear', () => {
  const changed = editRules(put(fresh, 'override', 'mine'), {
    edit: 'act',
    kind: 'underride',
    ruleId: '.m.rule.message',
    actions: [],
  })
  const stored = JSON.parse(JSON.stringify({ global: changed })) as JsonObject
  const global = stored['global'] as Record<RuleKind, JsonObject[]>
  global.override = global.override.filter((rule) => rule['rule_id'] !== '.m.rule.reaction')
  for (const rule of global.underride) rule['conditions'] = []
  const rules = rulesetOf(me, stored)
  expect(rules).toEqual(changed)
  expect(rulesetOf(me, { global: 7 })).toEqual(fresh)
  expect(rulesetOf(me, { global: { override: [7, {}], room: {} } })).toEqual(fresh)
})
