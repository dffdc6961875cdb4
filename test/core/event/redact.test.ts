import { describe, expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { redact } from '#core/event/redact.ts'
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
