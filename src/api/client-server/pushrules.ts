import { Type as t } from '@sinclair/typebox'
import { readRules } from '#api/client-server/push/rules.ts'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { type RuleEdit, findRule, ruleKind } from '#core/push/ruleset.ts'
import { Content, open } from '#core/schema.ts'
import type { Context } from '#src/context.ts'

const scope = '/_matrix/client/v3/pushrules/global/:kind/:ruleId'
const oldScope = '/_matrix/client/r0/pushrules/global/:kind/:ruleId'
const params = open({ kind: t.String(), ruleId: t.String() })
type RuleName = { kind: string; ruleId: string }

export const getPushRules = op({
  id: 'getPushRules',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/',
  also: ['/_matrix/client/r0/pushrules/'],
  auth: 'user',
  response: open({ global: Content }),
  run: async ({ who }, ctx) => ({ global: await readRules(ctx, who.userId) }),
})

export const getPushRulesGlobal = op({
  id: 'getPushRulesGlobal',
  method: 'GET',
  path: '/_matrix/client/v3/pushrules/global/',
  also: ['/_matrix/client/r0/pushrules/global/'],
  auth: 'user',
  run: ({ who }, ctx) => readRules(ctx, who.userId),
})

export const getPushRule = op({
  id: 'getPushRule',
  method: 'GET',
  path: scope,
  also: [oldScope],
  auth: 'user',
  params,
  run: ({ who, params: name }, ctx) => readRule(ctx, who.userId, name),
})

export const setPushRule = op({
  id: 'setPushRule',
  method: 'PUT',
  path: scope,
  also: [oldScope],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params,
  query: open({ before: t.Optional(t.String()), after: t.Optional(t.String()) }),
  body: Content,
  response: open({}),
  run: ({ who, params: name, query: { before, after }, body }, ctx) =>
    change(ctx, who.userId, name, {
      edit: 'put',
      rule: body as JsonObject,
      ...(before !== undefined && { before }),
      ...(after !== undefined && { after }),
    }),
})

export const deletePushRule = op({
  id: 'deletePushRule',
  method: 'DELETE',
  path: scope,
  also: [oldScope],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params,
  response: open({}),
  run: ({ who, params: name }, ctx) => change(ctx, who.userId, name, { edit: 'delete' }),
})

export const isPushRuleEnabled = op({
  id: 'isPushRuleEnabled',
  method: 'GET',
  path: `${scope}/enabled`,
  also: [`${oldScope}/enabled`],
  auth: 'user',
  params,
  run: async ({ who, params: name }, ctx) => ({
    enabled: (await readRule(ctx, who.userId, name)).enabled,
  }),
})

export const setPushRuleEnabled = op({
  id: 'setPushRuleEnabled',
  method: 'PUT',
  path: `${scope}/enabled`,
  also: [`${oldScope}/enabled`],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params,
  body: open({ enabled: t.Boolean() }),
  response: open({}),
  run: ({ who, params: name, body: { enabled } }, ctx) =>
    change(ctx, who.userId, name, { edit: 'enable', enabled }),
})

export const getPushRuleActions = op({
  id: 'getPushRuleActions',
  method: 'GET',
  path: `${scope}/actions`,
  also: [`${oldScope}/actions`],
  auth: 'user',
  params,
  run: async ({ who, params: name }, ctx) => ({
    actions: (await readRule(ctx, who.userId, name)).actions,
  }),
})

export const setPushRuleActions = op({
  id: 'setPushRuleActions',
  method: 'PUT',
  path: `${scope}/actions`,
  also: [`${oldScope}/actions`],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params,
  body: open({ actions: t.Array(t.Unknown()) }),
  response: open({}),
  run: ({ who, params: name, body: { actions } }, ctx) =>
    change(ctx, who.userId, name, { edit: 'act', actions: actions as Json[] }),
})

async function readRule(ctx: Context, userId: string, { kind, ruleId }: RuleName) {
  return findRule(await readRules(ctx, userId), ruleKind(kind), ruleId)
}

type EditOf<E> = E extends RuleEdit ? Omit<E, 'kind' | 'ruleId'> : never

async function change(
  ctx: Context,
  userId: string,
  { kind, ruleId }: RuleName,
  edit: EditOf<RuleEdit>,
): Promise<Record<string, never>> {
  const known = ruleKind(kind)
  // There is none to change, but one could be wanted.
  if (!known)
    throw edit.edit === 'put'
      ? invalidParam(`There are no rules of kind '${kind}'`)
      : notFound('There is no such push rule')
  await ctx.users.call('editPushRule', userId, { kind: known, ruleId, ...edit })
  return {}
}
