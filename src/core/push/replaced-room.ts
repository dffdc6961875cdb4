import type { JsonObject } from '#core/json.ts'
import type { PushRule, PushRuleset } from './default-rules.ts'
import type { RuleEdit } from './ruleset.ts'

/**
 * What a user's rules of one room are in the room that replaces it, as changes: its own rule, and those
 * of its name that ask for it. A rule that is there already stays.
 */
export function rulesOfReplacement(rules: PushRuleset, from: string, to: string): RuleEdit[] {
  return (['override', 'room', 'underride'] as const).flatMap((kind): RuleEdit[] => {
    const find = (ruleId: string) => rules[kind].find((rule) => rule.rule_id === ruleId)
    const rule = find(from)
    if (!rule || find(to)) return []
    const conditions = conditionsOf(rule, from, to)
    if (kind !== 'room' && !conditions) return []
    const moved: JsonObject = { actions: [...rule.actions], ...(conditions && { conditions }) }
    return [
      { edit: 'put', kind, ruleId: to, rule: moved },
      ...(rule.enabled ? [] : [{ edit: 'enable' as const, kind, ruleId: to, enabled: false }]),
    ]
  })
}

/** The conditions of a rule for another room; undefined if none of them asks for a room. */
function conditionsOf({ conditions = [] }: PushRule, from: string, to: string) {
  const asksFor = ({ kind, key, pattern }: JsonObject): boolean =>
    kind === 'event_match' && key === 'room_id' && pattern === from
  if (!conditions.some(asksFor)) return undefined
  return conditions.map((each) => (asksFor(each) ? { ...each, pattern: to } : each))
}
