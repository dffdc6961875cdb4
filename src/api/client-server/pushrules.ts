import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { type PushRule, type RuleKind, defaultRules, ruleKinds } from '#core/push/default-rules.ts'
import { Content, open } from '#core/schema.ts'

export const getPushRules = op({
  id: 'getPushRules',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/',
  also: ['/_matrix/client/r0/pushrules/'],
  auth: 'user',
  response: open({ global: Content }),
  run: ({ who }) => ({ global: defaultRules(who.userId) }),
})

export const getPushRulesGlobal = op({
  id: 'getPushRulesGlobal',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/global/',
  also: ['/_matrix/client/r0/pushrules/global/'],
  auth: 'user',
  run: ({ who }) => defaultRules(who.userId),
})

const params = open({ kind: t.String(), ruleId: t.String() })

export const getPushRule = op({
  id: 'getPushRule',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/global/:kind/:ruleId',
  also: ['/_matrix/client/r0/pushrules/global/:kind/:ruleId'],
  auth: 'user',
  params,
  run: ({ who, params: { kind, ruleId } }) => requireRule(who.userId, kind, ruleId),
})

export const isPushRuleEnabled = op({
  id: 'isPushRuleEnabled',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/global/:kind/:ruleId/enabled',
  also: ['/_matrix/client/r0/pushrules/global/:kind/:ruleId/enabled'],
  auth: 'user',
  params,
  run: ({ who, params: { kind, ruleId } }) => ({
    enabled: requireRule(who.userId, kind, ruleId).enabled,
  }),
})

export const getPushRuleActions = op({
  id: 'getPushRuleActions',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/global/:kind/:ruleId/actions',
  also: ['/_matrix/client/r0/pushrules/global/:kind/:ruleId/actions'],
  auth: 'user',
  params,
  run: ({ who, params: { kind, ruleId } }) => ({
    actions: requireRule(who.userId, kind, ruleId).actions,
  }),
})

function requireRule(userId: string, kind: string, ruleId: string): PushRule {
  const known = ruleKinds.find((each): each is RuleKind => each === kind)
  if (!known) throw invalidParam(`There are no rules of kind '${kind}'`)
  const rule = defaultRules(userId)[known].find((each) => each.rule_id === ruleId)
  if (!rule) throw notFound('There is no such push rule')
  return rule
}
