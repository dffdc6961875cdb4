import { describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import type { PushRule, PushRuleset, RuleKind } from '#core/push/default-rules.ts'
import { compileRules, evaluate } from '#core/push/evaluate.ts'
import { PatternBudget, matchesWords } from '#core/push/match.ts'
import { rulesetOf } from '#core/push/ruleset.ts'

const me = '@me:hs.test'
const none: PushRuleset = { override: [], content: [], room: [], sender: [], underride: [] }
const own = (change: Partial<PushRule>): PushRule => ({
  rule_id: 'mine',
  default: false,
  enabled: true,
  actions: ['notify'],
  ...change,
})
const only = (kind: RuleKind, change: Partial<PushRule>): PushRuleset => ({
  ...none,
  [kind]: [own(change)],
})

const message = (content: JsonObject, more: JsonObject = {}): JsonObject => ({
  type: 'm.room.message',
  room_id: '!room:hs.test',
  sender: '@you:hs.test',
  content: { msgtype: 'm.text', ...content },
  ...more,
})
const surroundings = { joinedMembers: 3, mayNotifyRoom: false, displayName: undefined }
const judge = (rules: PushRuleset, event: JsonObject, more: object = {}) =>
  evaluate(compileRules(rules), { ...surroundings, ...more, event })
const holds = (condition: JsonObject, event: JsonObject, more: object = {}): boolean =>
  judge(only('override', { conditions: [condition] }), event, more) !== undefined

describe('a pattern', () => {
  const inBody = (pattern: string, body: string) =>
    holds({ kind: 'event_match', key: 'content.body', pattern }, message({ body }))

  test('matches whole words of a body, whatever the case', () => {
    expect(inBody('Cake', 'a cake!')).toBe(true)
    expect(inBody('cake', 'cakes')).toBe(false)
    expect(inBody('cake', 'pan_cake')).toBe(false)
    expect(inBody('cake', 'pancake and cake')).toBe(true)
    expect(inBody('cake', 'é' + 'cake')).toBe(true)
    expect(inBody('ca?e', 'the cafe.')).toBe(true)
    expect(inBody('a?b', 'a😀b')).toBe(true)
    expect(inBody('cake*lie', 'the cake is a lie')).toBe(true)
    expect(inBody('cake*lie', 'the cake is a lies')).toBe(false)
    expect(inBody('*ake', 'pancake')).toBe(true)
    expect(inBody('pan*', 'pancake')).toBe(true)
    expect(inBody('', 'anything')).toBe(true)
  })

  test('matches the whole of any other text', () => {
    const name = (pattern: string, text: string) =>
      holds({ kind: 'event_match', key: 'type', pattern }, message({}, { type: text }))
    expect(name('m.room.*', 'm.room.message')).toBe(true)
    expect(name('room', 'm.room.message')).toBe(false)
    expect(name('M.ROOM.MESSAGE', 'm.room.message')).toBe(true)
  })

  test('that is built to back-track is tried once from each place, and given up beyond a bound (CVE-2021-29471)', () => {
    const evil = `${'*a'.repeat(100)}b`
    expect(inBody(evil, 'a'.repeat(20_000))).toBe(false)
    expect(
      holds(
        { kind: 'event_match', key: 'content.x', pattern: evil },
        message({ x: 'a'.repeat(20_000) }),
      ),
    ).toBe(false)
    const budget = new PatternBudget(40)
    expect(matchesWords('?', 'a b a b a b a b', budget)).toBe(true)
    expect(matchesWords('?', 'a b a b a b a b', budget)).toBe(true)
    expect(matchesWords('?', 'a b a b a b a b', budget)).toBe(false)
  })

  test('costs no more for many events together than a budget for all of them', () => {
    // As much as one event may cost: of twenty, ten are judged.
    const pattern = `*${'?'.repeat(48)}x`
    const text = `${'a '.repeat(9_950)}${'a'.repeat(48)}x`
    const rules = compileRules(only('content', { pattern }))
    const whole = new PatternBudget(10 * pattern.length * text.length)
    const verdicts = Array.from({ length: 20 }, () =>
      evaluate(rules, { ...surroundings, event: message({ body: text }) }, whole),
    )
    expect(verdicts.map((verdict) => verdict !== undefined)).toEqual([
      ...Array<boolean>(10).fill(true),
      ...Array<boolean>(10).fill(false),
    ])
  })

  test('that is a plain word is cheap: a thousand of them over a long message all count', () => {
    const words = Array.from({ length: 1_000 }, (_, n) => own({ pattern: `keyword${n}` }))
    const long = `${'lorem ipsum '.repeat(300)}keyword999`
    expect(
      evaluate(compileRules({ ...none, content: words }), {
        ...surroundings,
        event: message({ body: long }),
      }),
    ).toBeDefined()
  })

  test('matches nothing where there is no text', () => {
    for (const body of [7, null, ['x'], { x: 1 }])
      expect(
        holds({ kind: 'event_match', key: 'content.body', pattern: '*' }, message({ body })),
      ).toBe(false)
  })
})

describe('a condition', () => {
  test('on a property follows dots and escapes, and compares without converting', () => {
    const event = message({ 'm.mentions': { room: true, user_ids: [me] }, 'a\\b': 1, n: null })
    const is = (key: string, value: JsonObject[string]) =>
      holds({ kind: 'event_property_is', key, value }, event)
    expect(is('content.m\\.mentions.room', true)).toBe(true)
    expect(is('content.m\\.mentions.room', 'true')).toBe(false)
    expect(is('content.m.mentions.room', true)).toBe(false)
    expect(is('content.a\\\\b', 1)).toBe(true)
    expect(is('content.n', null)).toBe(true)
    expect(is('content.missing', null)).toBe(false)
    expect(is('content.toString', null)).toBe(false)
    const has = (key: string, value: string) =>
      holds({ kind: 'event_property_contains', key, value }, event)
    expect(has('content.m\\.mentions.user_ids', me)).toBe(true)
    expect(has('content.m\\.mentions.user_ids', '@m')).toBe(false)
    expect(has('content.msgtype', 'm.text')).toBe(false)
  })

  test('counts members', () => {
    const counts = (is: string) => holds({ kind: 'room_member_count', is }, message({}))
    for (const is of ['3', '==3', '>2', '>=3', '<4', '<=3'])
      expect([is, counts(is)]).toEqual([is, true])
    for (const is of ['2', '>3', '<3', 'x', '', '= 3', '3.0'])
      expect([is, counts(is)]).toEqual([is, false])
  })

  test('asks whether the sender may, for the one level that there is', () => {
    const may = (key: string, mayNotifyRoom: boolean) =>
      holds({ kind: 'sender_notification_permission', key }, message({}), { mayNotifyRoom })
    expect([may('room', true), may('room', false), may('else', true)]).toEqual([true, false, false])
  })

  test('finds the name of the reader, in which stars stand for themselves', () => {
    const named = (displayName: string | undefined, body: string) =>
      holds({ kind: 'contains_display_name' }, message({ body }), { displayName })
    expect(named('Ann', 'hello ann!')).toBe(true)
    expect(named('Ann', 'annual')).toBe(false)
    expect(named('*', 'anything')).toBe(false)
    expect(named(undefined, 'undefined')).toBe(false)
    expect(named('', 'anything')).toBe(false)
  })

  test('that nobody knows, or that is broken, never holds', () => {
    for (const condition of [
      { kind: 'org.example.unknown' },
      { kind: 'event_match', key: 'type' },
      { kind: 'event_property_is', key: 'type', value: {} },
      { kind: 'room_member_count' },
      {},
    ])
      expect(holds(condition, message({}))).toBe(false)
  })
})

describe('rules', () => {
  test('are tried by kind, and the first that matches speaks', () => {
    const rules: PushRuleset = {
      override: [
        own({
          conditions: [{ kind: 'event_match', key: 'content.body', pattern: 'top' }],
          actions: [],
        }),
      ],
      content: [own({ pattern: 'word', actions: ['notify', { set_tweak: 'highlight' }] })],
      room: [
        own({ rule_id: '!room:hs.test', actions: ['notify', { set_tweak: 'sound', value: 'r' }] }),
      ],
      sender: [own({ rule_id: '@you:hs.test', actions: [] })],
      underride: [own({ conditions: [] })],
    }
    expect(judge(rules, message({ body: 'top word' }))).toMatchObject({ notify: false })
    expect(judge(rules, message({ body: 'a word' }))).toMatchObject({
      notify: true,
      highlight: true,
    })
    expect(judge(rules, message({ body: 'x' }))?.actions[1]).toEqual({
      set_tweak: 'sound',
      value: 'r',
    })
    const elsewhere = { room_id: '!else:hs.test' }
    expect(judge(rules, message({ body: 'x' }, elsewhere))).toMatchObject({ notify: false })
    const other = { ...elsewhere, sender: '@else:hs.test' }
    expect(judge(rules, message({ body: 'x' }, other))).toMatchObject({
      notify: true,
      highlight: false,
    })
  })

  test('that are turned off say nothing, and a highlight may be turned off too', () => {
    expect(judge(only('override', { enabled: false }), message({}))).toBeUndefined()
    const plain = only('override', {
      actions: ['notify', { set_tweak: 'highlight', value: false }],
    })
    expect(judge(plain, message({}))).toMatchObject({ notify: true, highlight: false })
  })

  test('of the server notify of messages and mentions, not of notices, edits and reactions', () => {
    const rules = rulesetOf(me, undefined)
    const notify = (event: JsonObject) => judge(rules, event)?.notify ?? false
    expect(notify(message({ body: 'x' }))).toBe(true)
    expect(judge(rules, message({ 'm.mentions': { user_ids: [me] } }))?.highlight).toBe(true)
    expect(notify(message({ msgtype: 'm.notice' }))).toBe(false)
    expect(notify(message({ 'm.relates_to': { rel_type: 'm.replace' } }))).toBe(false)
    expect(notify(message({}, { type: 'm.reaction' }))).toBe(false)
    expect(notify(message({}, { type: 'm.room.name' }))).toBe(false)
    const twoPeople = judge(rules, message({}), { joinedMembers: 2 })
    expect(twoPeople?.actions).toContainEqual({ set_tweak: 'sound', value: 'default' })
    const room = message({ 'm.mentions': { room: true } })
    expect(judge(rules, room)?.highlight).toBe(false)
    expect(judge(rules, room, { mayNotifyRoom: true })?.highlight).toBe(true)
  })
})
