import { parsePath } from '#core/filter.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import type { PushRule, PushRuleset } from './default-rules.ts'
import { PatternBudget, matchesWhole, matchesWords } from './match.ts'

/** An event, and what rules may ask of its surroundings. */
export type PushEvent = Readonly<{
  /** As clients get it, with `room_id`, `sender`, `type`, `content`. */
  event: JsonObject
  joinedMembers: number
  /** Whether the sender may notify the whole room. */
  mayNotifyRoom: boolean
  /** What the reader is called in the room. */
  displayName: string | undefined
}>

/** What the first rule that matches says. */
export type Verdict = Readonly<{
  notify: boolean
  highlight: boolean
  actions: PushRule['actions']
}>

/** The rules of a user, made ready. */
export type CompiledRules = readonly CompiledRule[]

type Test = (subject: PushEvent, budget: PatternBudget) => boolean
type CompiledRule = { tests: readonly Test[]; verdict: Verdict }

/**
 * Makes rules ready: what is turned off, or can never match, is left out.
 *
 * Spec: client-server-api/#push-rules
 */
export function compileRules(rules: PushRuleset): CompiledRules {
  return [
    ...rules.override.flatMap(compileRule),
    ...rules.content.flatMap((rule) =>
      compileWith(rule, [{ kind: 'event_match', key: 'content.body', pattern: rule.pattern! }]),
    ),
    ...rules.room.flatMap((rule) => compileTests(rule, [isKey('room_id', rule.rule_id)])),
    ...rules.sender.flatMap((rule) => compileTests(rule, [isKey('sender', rule.rule_id)])),
    ...rules.underride.flatMap(compileRule),
  ]
}

/**
 * What the rules of a user say of an event of somebody else; undefined: none of them matches. Of many
 * events that are judged in one go a budget bounds what their patterns cost together.
 */
export function evaluate(
  rules: CompiledRules,
  subject: PushEvent,
  whole?: PatternBudget,
): Verdict | undefined {
  const budget = new PatternBudget(undefined, whole)
  return rules.find(({ tests }) => tests.every((test) => test(subject, budget)))?.verdict
}

const compileRule = (rule: PushRule): CompiledRule[] => compileWith(rule, rule.conditions ?? [])

function compileWith(rule: PushRule, conditions: readonly JsonObject[]): CompiledRule[] {
  const tests = conditions.map(compileCondition)
  return tests.every((test) => test !== undefined) ? compileTests(rule, tests) : []
}

function compileTests({ enabled, actions }: PushRule, tests: readonly Test[]): CompiledRule[] {
  if (!enabled) return []
  const highlight = actions.some(
    (action) =>
      isObject(action) && action['set_tweak'] === 'highlight' && action['value'] !== false,
  )
  const notify = actions.includes('notify')
  return [{ tests, verdict: { notify, highlight: notify && highlight, actions } }]
}

const isKey =
  (key: string, value: string): Test =>
  ({ event }) =>
    event[key] === value

/** Undefined for a condition that never matches: one that we do not know, or cannot read. */
function compileCondition(condition: JsonObject): Test | undefined {
  const { kind, key, pattern, value, is } = condition
  switch (kind) {
    case 'event_match':
      return typeof key === 'string' && typeof pattern === 'string'
        ? eventMatch(key, pattern)
        : undefined
    case 'event_property_is': {
      if (typeof key !== 'string' || !isPlain(value)) return undefined
      const path = parsePath(key)
      return ({ event }) => propertyAt(event, path) === value
    }
    case 'event_property_contains': {
      if (typeof key !== 'string' || !isPlain(value)) return undefined
      const path = parsePath(key)
      return ({ event }) => {
        const list = propertyAt(event, path)
        return Array.isArray(list) && list.includes(value)
      }
    }
    case 'room_member_count':
      return typeof is === 'string' ? memberCount(is) : undefined
    // `room` is the only level that there is.
    case 'sender_notification_permission':
      return key === 'room' ? ({ mayNotifyRoom }) => mayNotifyRoom : undefined
    case 'contains_display_name':
      return containsName
    default:
      return undefined
  }
}

const isPlain = (value: Json | undefined): value is string | number | boolean | null =>
  value === null ||
  typeof value === 'string' ||
  typeof value === 'number' ||
  value === true ||
  value === false

function eventMatch(key: string, pattern: string): Test {
  const path = parsePath(key)
  const glob = pattern.toLowerCase()
  const matches = key === 'content.body' ? matchesWords : matchesWhole
  return ({ event }, budget) => {
    const text = propertyAt(event, path)
    return typeof text === 'string' && matches(glob, text, budget)
  }
}

function memberCount(is: string): Test | undefined {
  const [, comparison = '==', digits] = /^(==|<=|>=|<|>)?(\d{1,15})$/.exec(is) ?? []
  if (digits === undefined) return undefined
  const count = Number(digits)
  switch (comparison) {
    case '<':
      return ({ joinedMembers }) => joinedMembers < count
    case '>':
      return ({ joinedMembers }) => joinedMembers > count
    case '<=':
      return ({ joinedMembers }) => joinedMembers <= count
    case '>=':
      return ({ joinedMembers }) => joinedMembers >= count
    default:
      return ({ joinedMembers }) => joinedMembers === count
  }
}

/** A name is no pattern: its stars and question marks stand for themselves. */
const containsName: Test = ({ event, displayName }, budget) => {
  const body = propertyAt(event, ['content', 'body'])
  if (typeof body !== 'string' || !displayName) return false
  const plain = (text: string) => text.replaceAll('*', '\0').replaceAll('?', '\u0001')
  return matchesWords(plain(displayName.toLowerCase()), plain(body), budget)
}

function propertyAt(event: JsonObject, path: readonly string[]): Json | undefined {
  let value: Json | undefined = event
  for (const key of path) {
    if (!isObject(value) || !Object.hasOwn(value, key)) return undefined
    value = value[key]
  }
  return value
}
