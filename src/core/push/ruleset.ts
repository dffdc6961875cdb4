import { MatrixError, invalidParam, missingParam, notFound, tooLarge } from '#core/error.ts'
import { isShortText } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import {
  type PushRule,
  type PushRuleset,
  type RuleKind,
  defaultRules,
  ruleKinds,
} from './default-rules.ts'

/** Rules that a user may have of their own. Not spec: each is tried for each event. */
export const maxOwnRules = 1_000
/** One rule, and all rules of a user, in bytes of JSON: every client reads them all. */
const maxRuleBytes = 16_384
const maxBytes = 262_144

/** A change of one rule, as its endpoint asks for it. */
export type RuleEdit = { kind: RuleKind; ruleId: string } & (
  | { edit: 'put'; rule: JsonObject; before?: string; after?: string }
  | { edit: 'delete' }
  | { edit: 'enable'; enabled: boolean }
  | { edit: 'act'; actions: Json[] }
)

/** Whether a rule is one of the server's own. */
const isDefault = (ruleId: string): boolean => ruleId.startsWith('.')

/**
 * The rules of a user: what they stored (the content of `m.push_rules`), with today's default rules.
 * Of a stored default rule only what a user may change counts.
 *
 * Spec: client-server-api/#predefined-rules
 */
export function rulesetOf(userId: string, stored: Json | undefined): PushRuleset {
  const defaults = defaultRules(userId)
  const global = isObject(stored) ? stored['global'] : undefined
  if (!isObject(global)) return defaults
  const merged = ruleKinds.map((kind) => {
    const list = global[kind]
    const rules = Array.isArray(list) ? (list.filter(isObject) as unknown as PushRule[]) : []
    const own = rules.filter(({ rule_id: id }) => typeof id === 'string' && !isDefault(id))
    const changed = new Map(rules.map((rule) => [rule.rule_id, rule]))
    const ours = defaults[kind].map((rule) => {
      const { enabled, actions } = changed.get(rule.rule_id) ?? rule
      return { ...rule, enabled, actions }
    })
    // What silences everything is above what a user made.
    const top = ours[0]?.rule_id === '.m.rule.master' ? 1 : 0
    return [kind, [...ours.slice(0, top), ...own, ...ours.slice(top)]]
  })
  return Object.fromEntries(merged) as PushRuleset
}

/** The kind of rules that a text names; undefined if there are none. */
export const ruleKind = (text: string): RuleKind | undefined =>
  ruleKinds.find((kind) => kind === text)

/** One rule of a user. */
export function findRule(rules: PushRuleset, kind: RuleKind | undefined, ruleId: string): PushRule {
  const rule = kind && rules[kind].find((each) => each.rule_id === ruleId)
  if (!rule) throw notFound('There is no such push rule')
  return rule
}

/** The rules after a change; throws what is wrong with it. */
export function editRules(rules: PushRuleset, edit: RuleEdit): PushRuleset {
  const { kind, ruleId } = edit
  const list = rules[kind]
  if (edit.edit === 'put') return { ...rules, [kind]: putRule(rules, edit) }
  const rule = findRule(rules, kind, ruleId)
  const replaceBy = (change: Partial<PushRule>) =>
    list.map((each) => (each === rule ? { ...rule, ...change } : each))
  switch (edit.edit) {
    case 'delete':
      if (isDefault(ruleId)) throw invalidParam('The rules of the server cannot be deleted')
      return { ...rules, [kind]: list.filter((each) => each !== rule) }
    case 'enable':
      return { ...rules, [kind]: replaceBy({ enabled: edit.enabled }) }
    case 'act':
      return bounded({ ...rules, [kind]: replaceBy({ actions: checkActions(edit.actions) }) })
  }
}

function putRule(
  rules: PushRuleset,
  { kind, ruleId, rule: json, before, after }: RuleEdit & { edit: 'put' },
): readonly PushRule[] {
  checkRuleId(ruleId)
  const existing = rules[kind].find((each) => each.rule_id === ruleId)
  const rule: PushRule = {
    rule_id: ruleId,
    default: false,
    enabled: existing?.enabled ?? true,
    ...contentOf(kind, json),
    actions: checkActions(json['actions']),
  }
  if (bytesOf(rule) > maxRuleBytes) throw tooLarge(`A rule has at most ${maxRuleBytes} bytes`)
  const place = before ?? after
  let list: PushRule[]
  if (place !== undefined && place !== ruleId) {
    list = rules[kind].filter((each) => each !== existing)
    const at = isDefault(place) ? -1 : list.findIndex((each) => each.rule_id === place)
    if (at < 0)
      throw new MatrixError(400, 'M_UNKNOWN', `before/after rule not found: ${place.slice(0, 255)}`)
    // Both may be named: then it is `before` that counts.
    list.splice(before === undefined ? at + 1 : at, 0, rule)
  } else if (existing) list = rules[kind].map((each) => (each === existing ? rule : each))
  else {
    list = [...rules[kind]]
    list.splice(list[0]?.rule_id === '.m.rule.master' ? 1 : 0, 0, rule)
  }
  bounded({ ...rules, [kind]: list })
  return list
}

function checkRuleId(ruleId: string): void {
  if (isDefault(ruleId)) throw invalidParam('A rule ID that begins with a dot is the server’s')
  if (/[/\\]/.test(ruleId)) throw invalidParam('A rule ID has no slash and no backslash')
  if (!isShortText(ruleId)) throw invalidParam('A rule ID has 1 to 255 bytes')
}

function contentOf(kind: RuleKind, json: JsonObject): Pick<PushRule, 'conditions' | 'pattern'> {
  const { conditions = [], pattern } = json
  if (kind === 'content') {
    if (pattern === undefined) throw missingParam('A content rule has a `pattern`')
    if (typeof pattern !== 'string') throw invalidParam('`pattern` is not a text')
    return { pattern }
  }
  if (kind !== 'override' && kind !== 'underride') return {}
  // Kinds that we do not know are kept: they never match.
  if (!Array.isArray(conditions) || !conditions.every(isCondition))
    throw invalidParam('`conditions` is not a list of conditions, each of a `kind`')
  return { conditions }
}

const isCondition = (condition: Json): condition is JsonObject =>
  isObject(condition) && typeof condition['kind'] === 'string'

function checkActions(actions: Json | undefined): PushRule['actions'] {
  if (actions === undefined) throw missingParam('A rule has `actions`')
  if (!Array.isArray(actions) || !actions.every(isAction))
    throw invalidParam('`actions` is not a list of texts and tweaks')
  return actions
}

const isAction = (action: Json): action is string | JsonObject =>
  typeof action === 'string' || (isObject(action) && typeof action['set_tweak'] === 'string')

function bounded(rules: PushRuleset): PushRuleset {
  const own = ruleKinds.reduce(
    (sum, kind) => sum + rules[kind].filter(({ rule_id: id }) => !isDefault(id)).length,
    0,
  )
  if (own > maxOwnRules) throw tooLarge(`A user has at most ${maxOwnRules} push rules`)
  if (bytesOf(rules) > maxBytes) throw tooLarge(`All push rules have at most ${maxBytes} bytes`)
  return rules
}

const bytesOf = (value: object): number => Buffer.byteLength(JSON.stringify(value))
