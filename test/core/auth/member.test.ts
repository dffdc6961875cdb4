import { describe, expect, test } from 'bun:test'
import type { Json } from '#core/json.ts'
import { alice, bob, carol, creator, from, Stage, until, versions } from './stage.ts'

const outside = 'The sender is not in the room'

/** Levels in which the creator has 100 in every version. */
const levels = (version: Stage['version'], content: Record<string, Json>) => {
  const users = content['users'] as Record<string, Json>
  return version.privilegedCreators ? content : { ...content, users: { [creator]: 100, ...users } }
}

describe.each(versions)('a member event of version $id', (version) => {
  const room = () => new Stage(version).join(alice, bob)

  test('has a state key, which is a user ID, and a membership', () => {
    const judge = (stateKey: string | undefined, content: Record<string, Json>) =>
      room().judge({ type: 'm.room.member', sender: alice, stateKey, content })
    expect(judge(undefined, { membership: 'leave' })).toBe('A member event is state')
    expect(judge('alice', { membership: 'invite' })).toBe('The state key is not a user ID')
    expect(judge(alice, {})).toBe('A member event has a membership')
  })

  test.each<[Json]>([['odd'], ['Join'], [''], [null], [5], [['join']], [{}]])(
    'cannot have the membership %j',
    (membership) => {
      const content = { membership }
      expect(room().judge({ type: 'm.room.member', sender: alice, stateKey: alice, content })).toBe(
        'The membership is unknown',
      )
    },
  )

  describe('that invites', () => {
    test('is sent by a member', () => {
      expect(room().try(bob, carol, 'invite')).toBe('allow')
      expect(room().member(bob, 'invite').try(bob, carol, 'invite')).toBe(outside)
      expect(new Stage(version).try(carol, alice, 'invite')).toBe(outside)
    })

    test('is for who is neither joined nor banned', () => {
      expect(room().try(bob, alice, 'invite')).toBe('The invitee is in the room already')
      expect(room().member(alice, 'ban').try(bob, alice, 'invite')).toBe('The invitee is banned')
      for (const membership of ['invite', 'leave', 'knock'])
        expect(room().member(alice, membership).try(bob, alice, 'invite')).toBe('allow')
    })

    test('takes the invite level', () => {
      const set = (own: number) =>
        room().levels(levels(version, { invite: 10, users: { [bob]: own } }))
      expect(set(10).try(bob, carol, 'invite')).toBe('allow')
      expect(set(9).try(bob, carol, 'invite')).toBe("The sender's power is too low to invite")
    })
  })

  describe('that leaves', () => {
    test.each([
      ['join', 'allow'],
      ['invite', 'allow'],
      ['leave', outside],
      ['ban', outside],
    ])('for oneself, from %s: %s', (membership, verdict) => {
      expect(room().member(alice, membership).try(alice, alice, 'leave')).toBe(verdict)
    })

    test('for oneself, from nothing, is refused', () => {
      expect(room().try(carol, carol, 'leave')).toBe(outside)
    })

    test('for another takes a member with the kick level and more power', () => {
      const set = (own: number, target: number) =>
        room().levels(levels(version, { kick: 10, users: { [bob]: own, [alice]: target } }))
      const tooLow = "The sender's power is too low to kick"
      expect(set(10, 9).try(bob, alice, 'leave')).toBe('allow')
      expect(set(10, 10).try(bob, alice, 'leave')).toBe(tooLow)
      expect(set(9, 0).try(bob, alice, 'leave')).toBe(tooLow)
      expect(set(10, 9).member(bob, 'leave').try(bob, alice, 'leave')).toBe(outside)
      expect(set(10, 9).try(bob, carol, 'leave')).toBe('allow')
    })

    test('for who is banned takes the ban level as well', () => {
      const set = (own: number, more: Record<string, Json>) =>
        room()
          .member(alice, 'ban')
          .levels(levels(version, { users: { [bob]: own }, ...more }))
      expect(set(50, {}).try(bob, alice, 'leave')).toBe('allow')
      expect(set(50, { ban: 51 }).try(bob, alice, 'leave')).toBe(
        "The sender's power is too low to unban",
      )
      expect(set(50, { kick: 51 }).try(bob, alice, 'leave')).toBe(
        "The sender's power is too low to kick",
      )
    })
  })

  describe('that bans', () => {
    test('takes a member with the ban level and more power', () => {
      const set = (own: number, target: number) =>
        room().levels(levels(version, { ban: 10, users: { [bob]: own, [alice]: target } }))
      const tooLow = "The sender's power is too low to ban"
      expect(set(10, 9).try(bob, alice, 'ban')).toBe('allow')
      expect(set(10, 10).try(bob, alice, 'ban')).toBe(tooLow)
      expect(set(9, 0).try(bob, alice, 'ban')).toBe(tooLow)
      expect(set(10, 9).member(bob, 'invite').try(bob, alice, 'ban')).toBe(outside)
      expect(set(10, 9).try(bob, carol, 'ban')).toBe('allow')
      expect(set(10, 9).try(bob, bob, 'ban')).toBe(tooLow)
    })

    test('takes power 50 if there are no power levels', () => {
      expect(room().try(bob, alice, 'ban')).toBe("The sender's power is too low to ban")
      expect(room().try(creator, alice, 'ban')).toBe('allow')
    })
  })
})

describe('knocking', () => {
  test.each(until(6))('is unknown in version $id', (version) => {
    const room = new Stage(version).rule('knock')
    expect(room.try(alice, alice, 'knock')).toBe('The membership is unknown')
    expect(room.member(alice, 'knock').try(alice, alice, 'leave')).toBe(outside)
  })

  describe.each(from(7))('in version $id', (version) => {
    test('takes the rule, and is for oneself', () => {
      const room = new Stage(version)
      for (const rule of ['public', 'invite', 'restricted', 'private'])
        expect(room.rule(rule).try(alice, alice, 'knock')).toBe('The join rule admits no knocks')
      expect(room.rule('knock').try(creator, alice, 'knock')).toBe('Nobody can knock for another')
      expect(room.try(alice, alice, 'knock')).toBe('allow')
    })

    test.each([
      ['leave', 'allow'],
      ['knock', 'allow'],
      ['invite', 'The sender cannot knock now'],
      ['join', 'The sender cannot knock now'],
      ['ban', 'The sender cannot knock now'],
    ])('from %s: %s', (membership, verdict) => {
      const room = new Stage(version).rule('knock').member(alice, membership)
      expect(room.try(alice, alice, 'knock')).toBe(verdict)
    })

    test('can be taken back', () => {
      const room = new Stage(version).rule('knock').member(alice, 'knock')
      expect(room.try(alice, alice, 'leave')).toBe('allow')
    })
  })

  test.each(versions)('under knock_restricted: as version $id says', (version) => {
    const room = new Stage(version).rule('knock_restricted')
    const verdict = room.try(alice, alice, 'knock')
    expect(verdict === 'allow').toBe(version.knockRestricted)
  })
})

describe.each(from(12))('a creator of version $id', (version) => {
  const room = () => new Stage(version, { additional_creators: [bob] }).join(alice, bob)

  test('is above everybody, whatever the power levels say', () => {
    const set = room().levels({ users: { [alice]: 2 ** 53 - 1 }, ban: 2 ** 53 - 1 })
    expect(set.try(creator, alice, 'ban')).toBe('allow')
    expect(set.try(bob, alice, 'ban')).toBe('allow')
    expect(set.try(alice, bob, 'ban')).toBe("The sender's power is too low to ban")
    expect(set.try(alice, creator, 'leave')).toBe("The sender's power is too low to kick")
  })

  test('is not above another creator', () => {
    expect(room().try(creator, bob, 'ban')).toBe("The sender's power is too low to ban")
    expect(room().try(bob, creator, 'leave')).toBe("The sender's power is too low to kick")
  })
})
