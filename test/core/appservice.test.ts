import { describe, expect, test } from 'bun:test'
import { type Appservice, appservicesOf, claimFault, covers } from '#core/appservice.ts'
import { readRegistration } from '#core/appservice-registration.ts'

const namespace = (regex: string, exclusive = true) => ({ regex, exclusive })

function registered(id: string, namespaces: object, more: object = {}): Appservice {
  const registration = readRegistration(
    {
      id,
      url: null,
      as_token: `${id}-as`,
      hs_token: `${id}-hs`,
      sender_localpart: `${id}bot`,
      namespaces,
      ...more,
    },
    'here.example',
  )
  if ('faults' in registration) throw new Error(registration.faults.join())
  return registration.appservice
}

const irc = registered('irc', {
  users: [namespace('@_irc_.*'), namespace('@guest[0-9]+:here\\.example', false)],
  aliases: [namespace('#_irc_.*')],
  rooms: [namespace('!abc', false)],
})
const sms = registered('sms', { users: [namespace('@_sms_.*'), namespace('@.*', false)] })
const all = appservicesOf([irc, sms])

describe('the namespaces of an application service', () => {
  test('hold what begins as they say, and no more of another kind', () => {
    expect(covers(irc, 'users', '@_irc_bob:here.example')).toBe(true)
    expect(covers(irc, 'users', '@x@_irc_bob:here.example')).toBe(false)
    expect(covers(irc, 'aliases', '@_irc_bob:here.example')).toBe(false)
    expect(covers(irc, 'aliases', '#_irc_room:here.example')).toBe(true)
    expect(covers(irc, 'rooms', '!abcdef')).toBe(true)
    expect(covers(irc, 'rooms', '!def')).toBe(false)
  })

  test('hold local users alone, but rooms and aliases of any server', () => {
    expect(covers(irc, 'users', '@_irc_bob:far.example')).toBe(false)
    expect(covers(irc, 'users', '@_irc_bob:here.example.far')).toBe(false)
    expect(covers(irc, 'aliases', '#_irc_room:far.example')).toBe(true)
  })

  test('always hold the sender', () => {
    expect(covers(irc, 'users', '@ircbot:here.example')).toBe(true)
    expect(covers(irc, 'users', '@ircbot:far.example')).toBe(false)
  })
})

describe('who may make and remove', () => {
  const fault = (by: Appservice | undefined, id: string) =>
    claimFault(all, by, id.startsWith('#') ? 'aliases' : 'users', id)

  test('is everybody outside of all exclusive namespaces', () => {
    expect(fault(undefined, '@alice:here.example')).toBeUndefined()
    expect(fault(undefined, '@guest7:here.example')).toBeUndefined()
    expect(fault(undefined, '#room:here.example')).toBeUndefined()
  })

  test('is nobody else inside of one, or of the name of a sender', () => {
    for (const id of ['@_irc_bob:here.example', '@ircbot:here.example', '#_irc_x:here.example'])
      expect(fault(undefined, id)).toBe(`${id} is reserved for an application service`)
    // Though it is in a namespace of the other, too.
    expect(fault(sms, '@_irc_bob:here.example')).toContain('is reserved')
  })

  test('is an application service in its own namespaces, exclusive or not, and nowhere else', () => {
    expect(fault(irc, '@_irc_bob:here.example')).toBeUndefined()
    expect(fault(irc, '@guest7:here.example')).toBeUndefined()
    expect(fault(irc, '#_irc_x:here.example')).toBeUndefined()
    expect(fault(irc, '@alice:here.example')).toBe(
      '@alice:here.example is in no namespace of the application service irc',
    )
    expect(fault(irc, '#room:here.example')).toContain('is in no namespace')
    expect(fault(sms, '#room:here.example')).toContain('is in no namespace')
  })

  test('is neither of two whose exclusive namespaces meet', () => {
    const rival = registered('rival', { users: [namespace('@_irc_b.*')] })
    const both = appservicesOf([irc, rival])
    for (const by of [irc, rival, undefined])
      expect(claimFault(both, by, 'users', '@_irc_bob:here.example')).toContain('is reserved')
    expect(claimFault(both, irc, 'users', '@_irc_al:here.example')).toBeUndefined()
  })
})

test('application services are found by the token that they show', () => {
  expect(all.byToken.get('irc-as')).toBe(irc)
  expect(all.byToken.get('irc-hs')).toBeUndefined()
})
