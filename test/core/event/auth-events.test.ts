import { describe, expect, test } from 'bun:test'
import { authEventKeys, selectAuthEvents } from '#core/event/auth-events.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { alice, bob, creator, from, Stage, until, versions } from '#test/core/auth/stage.ts'

const keys = (version: RoomVersion, type: string, content: JsonObject = {}, stateKey = bob) =>
  authEventKeys({ version, type, stateKey, sender: alice, content })
    .map(([place, key]) => (key === '' ? place : `${place} ${key}`))
    .filter((place) => place !== 'm.room.create')
    .sort()

const own = `m.room.member ${alice}`
const target = `m.room.member ${bob}`
const rules = 'm.room.join_rules'
const levels = 'm.room.power_levels'
const authoriser = 'm.room.member @carol:c.example'
const restricted = { join_authorised_via_users_server: '@carol:c.example' }

describe.each(versions)('the selection of version $id', (version) => {
  test('asks nothing of the create event', () => {
    expect(keys(version, 'm.room.create')).toEqual([])
  })

  test('asks for power levels and the sender for most events', () => {
    for (const type of ['m.room.message', 'm.room.power_levels', 'm.room.third_party_invite'])
      expect(keys(version, type, { membership: 'join' })).toEqual([own, levels])
  })

  test.each(['join', 'invite', 'knock'])('asks for target and join rules for %s', (membership) => {
    expect(keys(version, 'm.room.member', { membership })).toEqual([rules, own, target, levels])
  })

  test.each(['leave', 'ban', 'odd', null])('asks for the target for %j', (membership) => {
    expect(keys(version, 'm.room.member', { membership })).toEqual([own, target, levels])
  })

  test('names a user who is sender and target once', () => {
    expect(keys(version, 'm.room.member', { membership: 'join' }, alice)).toEqual([
      rules,
      own,
      levels,
    ])
  })

  test('asks for the third-party invite of an invite', () => {
    const content = { third_party_invite: { signed: { token: 'token' } } }
    const place = 'm.room.third_party_invite token'
    expect(keys(version, 'm.room.member', { membership: 'invite', ...content })).toContain(place)
    expect(keys(version, 'm.room.member', { membership: 'join', ...content })).not.toContain(place)
  })

  test.each([null, 5, {}, { signed: null }, { signed: {} }, { signed: { token: 5 } }])(
    'does not stumble over the third-party invite %j',
    (invite) => {
      const content = { membership: 'invite', third_party_invite: invite }
      expect(keys(version, 'm.room.member', content)).toEqual([rules, own, target, levels])
    },
  )

  test('asks for the authorising user of a join, where the version has such joins', () => {
    const join = keys(version, 'm.room.member', { membership: 'join', ...restricted })
    expect(join.includes(authoriser)).toBe(version.restrictedJoins)
    const invite = keys(version, 'm.room.member', { membership: 'invite', ...restricted })
    expect(invite).not.toContain(authoriser)
  })

  test('takes from the state what is there', () => {
    const room = new Stage(version).join(alice).levels({})
    const state = (type: string, stateKey: string) => room.state.get(`${type}\0${stateKey}`)
    const draft = { version, type: 'm.room.topic', stateKey: '', sender: alice, content: {} }
    const selected = selectAuthEvents(draft, state).map(({ type }) => type)
    const create = version.createEventIsRoomId ? [] : ['m.room.create']
    expect(new Set(selected)).toEqual(new Set([...create, 'm.room.member', 'm.room.power_levels']))
    expect(selectAuthEvents({ ...draft, sender: bob }, state)).toHaveLength(selected.length - 1)
  })
})

const asksForCreate = (version: RoomVersion) =>
  authEventKeys({ version, type: 'x', stateKey: undefined, sender: creator, content: {} }).some(
    ([type]) => type === 'm.room.create',
  )

test('the create event is asked for up to version 11', () => {
  expect(until(11).every(asksForCreate)).toBe(true)
  expect(from(12).some(asksForCreate)).toBe(false)
})
