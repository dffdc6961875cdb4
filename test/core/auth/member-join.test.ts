import { describe, expect, test } from 'bun:test'
import { alice, bob, carol, creator, from, Stage, until, versions } from './stage.ts'

const unsigned = 'The server that authorises the join has not signed it'
const authoriser = 'join_authorised_via_users_server'

describe.each(versions)('joining in version $id', (version) => {
  test('lets the creator in right after the create event, whatever the state says', () => {
    const room = new Stage(version).member(creator, 'ban')
    const first = (sender: string, target: string) =>
      room.judge({
        type: 'm.room.member',
        sender,
        stateKey: target,
        content: { membership: 'join' },
        prevEvents: [room.create.eventId],
      })
    expect(first(creator, creator)).toBe('allow')
    expect(first(alice, alice)).not.toBe('allow')
    expect(room.try(creator, creator, 'join')).toBe('The sender is banned')
  })

  test('does not count as first with a second previous event', () => {
    const room = new Stage(version).member(creator, 'leave')
    const join = room.judge({
      type: 'm.room.member',
      sender: creator,
      stateKey: creator,
      content: { membership: 'join' },
      prevEvents: [room.create.eventId, '$other:a.example'],
    })
    expect(join).toBe('The sender is not invited')
  })

  test('is for oneself', () => {
    const room = new Stage(version).rule('public')
    expect(room.try(creator, alice, 'join')).toBe('Nobody can join for another')
  })

  test('is for those who are not banned', () => {
    const room = new Stage(version).rule('public').member(alice, 'ban')
    expect(room.try(alice, alice, 'join')).toBe('The sender is banned')
    expect(room.member(alice, 'leave').try(alice, alice, 'join')).toBe('allow')
  })

  test('takes an invitation where the rule is invite, or missing', () => {
    for (const room of [new Stage(version), new Stage(version).rule('invite')]) {
      for (const membership of ['leave', 'knock'])
        expect(room.member(alice, membership).try(alice, alice, 'join')).toBe(
          'The sender is not invited',
        )
      for (const membership of ['invite', 'join'])
        expect(room.member(alice, membership).try(alice, alice, 'join')).toBe('allow')
      expect(room.try(bob, bob, 'join')).toBe('The sender is not invited')
    }
  })

  test('takes an invitation where the join rules name no rule', () => {
    const room = new Stage(version).set('m.room.join_rules', {}).member(alice, 'invite')
    expect(room.try(alice, alice, 'join')).toBe('allow')
    expect(room.try(bob, bob, 'join')).toBe('The sender is not invited')
  })

  test.each(['private', 'odd', 'Public', ''])('is not possible under the rule %j', (rule) => {
    const room = new Stage(version).rule(rule).member(alice, 'invite')
    expect(room.try(alice, alice, 'join')).toBe('The join rule lets nobody in')
  })

  test('is not possible under a rule that is no text', () => {
    const room = new Stage(version).set('m.room.join_rules', { join_rule: ['public'] })
    expect(room.try(alice, alice, 'join')).toBe('The join rule lets nobody in')
  })
})

describe('the join rule knock', () => {
  test.each(until(6))('lets nobody in, in version $id', (version) => {
    const room = new Stage(version).rule('knock').member(alice, 'invite')
    expect(room.try(alice, alice, 'join')).toBe('The join rule lets nobody in')
  })

  test.each(from(7))('lets in who is invited, in version $id', (version) => {
    const room = new Stage(version).rule('knock').member(alice, 'invite').member(bob, 'knock')
    expect(room.try(alice, alice, 'join')).toBe('allow')
    expect(room.try(bob, bob, 'join')).toBe('The sender is not invited')
  })
})

const rules = [
  { rule: 'restricted', first: 8 },
  { rule: 'knock_restricted', first: 10 },
]

describe.each(rules)('the join rule $rule', ({ rule, first }) => {
  test.each(until(first - 1))('lets nobody in, in version $id', (version) => {
    const room = new Stage(version).rule(rule).join(bob).member(alice, 'invite')
    expect(room.try(alice, alice, 'join', { [authoriser]: bob })).toBe(
      'The join rule lets nobody in',
    )
  })

  describe.each(from(first))('in version $id', (version) => {
    test('lets in who is invited or joined, without an authoriser', () => {
      const room = new Stage(version).rule(rule).member(alice, 'invite').join(bob)
      expect(room.try(alice, alice, 'join')).toBe('allow')
      expect(room.try(bob, bob, 'join')).toBe('allow')
    })

    test('lets in whom a member authorises who may invite', () => {
      const room = new Stage(version).rule(rule).join(bob)
      expect(room.try(alice, alice, 'join', { [authoriser]: bob })).toBe('allow')
      room.levels({ invite: 50, users: { [bob]: 50 } })
      expect(room.try(alice, alice, 'join', { [authoriser]: bob })).toBe('allow')
      room.levels({ invite: 51, users: { [bob]: 50 } })
      expect(room.try(alice, alice, 'join', { [authoriser]: bob })).toBe(
        'The member who authorises the join may not invite',
      )
    })

    test('refuses an authoriser who is missing, or not joined', () => {
      const room = new Stage(version).rule(rule).member(bob, 'leave')
      const nobody = 'No member of the room authorises the join'
      expect(room.try(alice, alice, 'join')).toBe(nobody)
      expect(room.try(alice, alice, 'join', { [authoriser]: bob })).toBe(nobody)
      expect(room.try(alice, alice, 'join', { [authoriser]: carol })).toBe(nobody)
    })

    test('refuses who is banned, however authorised', () => {
      const room = new Stage(version).rule(rule).join(bob).member(alice, 'ban')
      expect(room.try(alice, alice, 'join', { [authoriser]: bob })).toBe('The sender is banned')
    })
  })
})

describe('the signature of the authorising server', () => {
  const offer = (membership: string, by: string | number) => ({
    type: 'm.room.member',
    sender: alice,
    stateKey: alice,
    content: { membership, [authoriser]: by },
  })

  test.each(from(8))('is needed whenever one is named, in version $id', (version) => {
    const room = new Stage(version).rule('public').join(alice)
    const asked: string[] = []
    const nobody = (server: string) => {
      asked.push(server)
      return false
    }
    for (const membership of ['join', 'leave', 'invite'])
      expect(room.judge(offer(membership, bob), nobody)).toBe(unsigned)
    expect(asked).toEqual(['b.example', 'b.example', 'b.example'])
    expect(room.judge(offer('join', bob), (server) => server === 'b.example')).toBe('allow')
    for (const by of [5, '', 'bob'])
      expect(room.judge(offer('join', by), () => true)).toBe(unsigned)
  })

  test.each(until(7))('is not asked for in version $id', (version) => {
    const room = new Stage(version).rule('public')
    expect(room.judge(offer('join', bob), () => false)).toBe('allow')
  })
})

test.each(from(11))(
  'the creator of version $id is the sender, whatever the content says',
  (version) => {
    const room = new Stage(version, { creator: alice })
    const first = {
      type: 'm.room.member',
      content: { membership: 'join' },
      prevEvents: [room.create.eventId],
    }
    expect(room.judge({ ...first, sender: alice, stateKey: alice })).not.toBe('allow')
    expect(room.judge({ ...first, sender: creator, stateKey: creator })).toBe('allow')
  },
)

test.each(until(10))('the creator of version $id is whom the content names', (version) => {
  const room = new Stage(version, { creator: alice })
  const first = {
    type: 'm.room.member',
    content: { membership: 'join' },
    prevEvents: [room.create.eventId],
  }
  expect(room.judge({ ...first, sender: alice, stateKey: alice })).toBe('allow')
})
