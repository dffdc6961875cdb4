import { describe, expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { redact, redactJsonForServers } from '#core/event/redact.ts'
import type { JsonObject } from '#core/json.ts'
import { version, versions } from './fixtures.ts'

/** The content that is left in each version, by the content that was there. */
const left = (of: string, type: string, content: JsonObject) =>
  redact(version(of), { type, content })['content']

const everything: JsonObject = Object.fromEntries(
  'allow aliases ban body creator events events_default history_visibility invite join_authorised_via_users_server join_rule kick membership notifications reason redact redacts room_version state_default third_party_invite users users_default'
    .split(' ')
    .map((key) => [key, key]),
)
const only = (keys: string) =>
  Object.fromEntries(keys.split(' ').map((key) => [key, everything[key]!]))

const levels = 'ban events events_default kick redact state_default users users_default'

describe('of the content', () => {
  for (const { id, ...flags } of versions) {
    test(`version ${id} keeps what its page lists`, () => {
      const number = Number(id)
      const expected: Record<string, JsonObject> = {
        'm.room.member': only(
          number >= 9 ? 'join_authorised_via_users_server membership' : 'membership',
        ),
        'm.room.create': number >= 11 ? everything : only('creator'),
        'm.room.join_rules': only(number >= 8 ? 'allow join_rule' : 'join_rule'),
        'm.room.power_levels': only(number >= 11 ? `invite ${levels}` : levels),
        'm.room.aliases': number <= 5 ? only('aliases') : {},
        'm.room.history_visibility': only('history_visibility'),
        'm.room.redaction': number >= 11 ? only('redacts') : {},
        'm.room.message': {},
        'm.room.third_party_invite': {},
        constructor: {},
      }
      for (const [type, content] of Object.entries(expected))
        expect({ type, content: left(id, type, everything) }).toEqual({ type, content })
      expect(flags.redactionV11).toBe(number >= 11)
    })
  }

  test('since v11 `signed` stays of a third-party invite, and the place of one without', () => {
    const invite = {
      membership: 'invite',
      third_party_invite: { signed: { a: 1 }, display_name: 'x' },
    }
    expect(left('10', 'm.room.member', invite)).toEqual({ membership: 'invite' })
    expect(left('11', 'm.room.member', invite)).toEqual({
      membership: 'invite',
      third_party_invite: { signed: { a: 1 } },
    })
    const unsigned = { third_party_invite: { display_name: 'x' } }
    expect(left('11', 'm.room.member', unsigned)).toEqual({ third_party_invite: {} })
    expect(left('11', 'm.room.member', { third_party_invite: 'x' })).toEqual({})
  })

  test('a key that is only inherited is not there', () => {
    const content = parseJson('{"__proto__":{"membership":"join"}}') as JsonObject
    expect(left('11', 'm.room.member', content)).toEqual({})
  })
})

test('of the event the listed keys are kept, signatures too, and `unsigned` is not', () => {
  const kept =
    'auth_events content depth event_id hashes origin_server_ts prev_events room_id sender signatures state_key type'
  const event: JsonObject = Object.fromEntries(
    `${kept} membership origin prev_state redacts unsigned age_ts other`
      .split(' ')
      .map((key) => [key, key]),
  )
  for (const of of versions) {
    const expected = of.redactionV11 ? kept : `${kept} membership origin prev_state`
    expect(Object.keys(redact(of, event)).sort()).toEqual(expected.split(' ').sort())
  }
})

test('redacting twice changes nothing, and the original is left alone', () => {
  for (const of of versions)
    for (const type of ['m.room.member', 'm.room.create', 'm.room.power_levels', 'm.x']) {
      const event = { type, content: everything, hashes: { sha256: 'x' } }
      const once = redact(of, event)
      expect(redact(of, once)).toEqual(once)
      expect(event.content).toBe(everything)
    }
})

/** Whether other servers get all of an event of this content. */
const isWhole = (
  of: string,
  type: string,
  content: JsonObject,
  state: object = { state_key: '' },
) => {
  const json = JSON.stringify({ type, ...state, content: { ...content, said: 'bad' } })
  return redactJsonForServers(version(of), json) === json
}

test.each([
  ['m.room.power_levels', { invite: 50 }, ['1', '6', '8', '10'], ['11', '12']],
  ['m.room.power_levels', { notifications: { room: 50 } }, ['6', '12'], ['1', '5']],
  ['m.room.power_levels', { users: {}, ban: 50 }, [], ['1', '8', '12']],
  ['m.room.create', { creator: '@a:b', 'm.federate': false }, ['1', '10'], []],
  ['m.room.create', { creator: '@a:b', room_version: '9' }, ['9'], []],
  ['m.room.third_party_invite', { public_key: 'k' }, ['1', '12'], []],
  ['m.room.member', { membership: 'invite', third_party_invite: {} }, ['1', '10'], ['11', '12']],
  ['m.room.member', { membership: 'join', third_party_invite: {} }, [], ['1', '10', '12']],
  ['m.room.member', { membership: 'join', displayname: 'A' }, [], ['1', '8', '12']],
  [
    'm.room.member',
    { membership: 'join', join_authorised_via_users_server: '@a:b' },
    ['8'],
    ['7', '9', '12'],
  ],
  ['m.room.topic', { topic: 'bad', invite: 50 }, [], ['1', '8', '12']],
] satisfies [string, JsonObject, string[], string[]][])(
  'a redacted %s goes to other servers whole where it would lose what the rules read of it: %j',
  (type, content, whole, redacted) => {
    for (const of of whole) expect([of, isWhole(of, type, content)]).toEqual([of, true])
    for (const of of redacted) expect([of, isWhole(of, type, content)]).toEqual([of, false])
    // What is no state gives nobody any right.
    for (const of of whole) expect([of, isWhole(of, type, content, {})]).toEqual([of, false])
  },
)
