import { describe, expect, test } from 'bun:test'
import { readRegistration, sharedKeys } from '#core/appservice-registration.ts'

const good = {
  id: 'IRC Bridge',
  url: 'http://127.0.0.1:1234/path',
  as_token: 'as',
  hs_token: 'hs',
  sender_localpart: '_irc_bot',
  namespaces: {},
}
const read = (more: object, base: object = good) =>
  readRegistration({ ...base, ...more }, 'here.example')

function faultsOf(value: unknown): readonly string[] {
  const registration = readRegistration(value, 'here.example')
  return 'faults' in registration ? registration.faults : []
}

function appserviceOf(more: object) {
  const registration = read(more)
  if ('faults' in registration) throw new Error(registration.faults.join('; '))
  return registration.appservice
}

const regexOf = (regex: string) =>
  appserviceOf({ namespaces: { users: [{ regex, exclusive: true }] } }).namespaces.users[0]!.regex

describe('a registration', () => {
  test('says what it must, and the rest has defaults', () => {
    expect(appserviceOf({})).toEqual({
      id: 'IRC Bridge',
      url: 'http://127.0.0.1:1234/path',
      connects: 'never',
      asToken: 'as',
      hsToken: 'hs',
      sender: '@_irc_bot:here.example',
      namespaces: { users: [], rooms: [], aliases: [] },
      rateLimited: true,
      protocols: [],
      receiveEphemeral: false,
      pushEphemeral: false,
      pushEncryption: false,
    })
  })

  test('may say more, also what only other servers know', () => {
    const appservice = appserviceOf({
      url: null,
      rate_limited: false,
      protocols: ['irc'],
      receive_ephemeral: true,
      'org.matrix.msc3202': true,
      namespaces: {
        users: [{ regex: '@_irc_.*', exclusive: true, group_id: '+g:h' }],
        rooms: [],
        aliases: null,
      },
    })
    expect(appservice).toMatchObject({
      url: null,
      connects: 'maybe',
      rateLimited: false,
      protocols: ['irc'],
      receiveEphemeral: true,
      pushEphemeral: false,
      pushEncryption: true,
      namespaces: { users: [{ exclusive: true }], rooms: [], aliases: [] },
    })
  })

  test('lacks nothing: every fault is told, and no token', () => {
    expect(faultsOf({})).toEqual([
      'id: is missing',
      'url: is missing',
      'as_token: is missing',
      'hs_token: is missing',
      'sender_localpart: is missing',
      'namespaces: is missing',
    ])
    for (const value of [null, 'text', ['a'], 7])
      expect(faultsOf(value)).toEqual(['it is no table of keys and values'])
    const told = faultsOf({ ...good, as_token: 12345, hs_token: 'secret word' }).join()
    expect(told).not.toMatch(/12345|secret/)
  })

  test.each([
    [{ id: '' }, 'id: must be a text that is not empty; numbers need quotes'],
    [{ as_token: 7 }, 'as_token: must be a text that is not empty; numbers need quotes'],
    [{ hs_token: 'a b' }, 'hs_token: must be ASCII without spaces'],
    [
      { url: '' },
      'url: must be an http:// or https:// address without a query, null, or websocket',
    ],
    [
      { url: 'ftp://h' },
      'url: must be an http:// or https:// address without a query, null, or websocket',
    ],
    [{ rate_limited: 'no' }, 'rate_limited: must be true or false'],
    [{ receive_ephemeral: 1 }, 'receive_ephemeral: must be true or false'],
    [{ protocols: 'irc' }, 'protocols: must be a list of texts'],
    [{ protocols: [1] }, 'protocols: must be a list of texts'],
    [{ namespaces: [] }, 'namespaces: must be a table'],
    [
      { namespaces: { user: [] } },
      'namespaces.user: there are namespaces of users, rooms, aliases only',
    ],
    [{ namespaces: { users: {} } }, 'namespaces.users: must be a list'],
    [
      { namespaces: { rooms: ['!a'] } },
      'namespaces.rooms.0: must be a table with regex and exclusive',
    ],
    [
      { namespaces: { rooms: [{ regex: '!a' }] } },
      'namespaces.rooms.0.exclusive: must be true or false',
    ],
    [
      { namespaces: { aliases: [{ regex: '', exclusive: true }] } },
      'namespaces.aliases.0.regex: must be a text that is not empty',
    ],
    [
      { namespaces: { users: [{ regex: '@_(', exclusive: true }] } },
      'namespaces.users.0.regex: @_( is no regular expression: missing )',
    ],
    [
      { namespaces: { users: [{ regex: 'a)|(?:b', exclusive: true }] } },
      'namespaces.users.0.regex: a)|(?:b is no regular expression: unmatched parentheses',
    ],
  ])('with %j is refused', (more, fault) => {
    expect(faultsOf({ ...good, ...more })).toEqual([fault])
  })

  test('has a sender whose name a new account could have', () => {
    for (const localpart of ['@bot', 'bot:here.example', 'Bot', 'b t', 'x'.repeat(250)])
      expect(faultsOf({ ...good, sender_localpart: localpart })).toEqual([
        'sender_localpart: has the characters a-z, 0-9 and ._=/+- only, without @ and server name',
      ])
  })

  test('has expressions that match from the beginning, whatever follows', () => {
    const regex = regexOf('@a|@b')
    expect(regex.test('@a:h')).toBe(true)
    expect(regex.test('@bc:h')).toBe(true)
    expect(regex.test('x@a:h')).toBe(false)
    expect(regexOf('^@a:h$').test('@a:h')).toBe(true)
    expect(regexOf('@_irc\\_.*\\@x').test('@_irc_1@x')).toBe(true)
  })

  test('has expressions with the character classes of POSIX', () => {
    const regex = regexOf('@_[[:alnum:]_]+[^[:punct:]]:')
    expect(regex.test('@_a7_z:h')).toBe(true)
    expect(regex.test('@_a-z:h')).toBe(false)
    expect(regexOf('@[[:digit:]]+:').test('@12:h')).toBe(true)
    expect(regexOf('@[[:digit:]]+:').test('@d:h')).toBe(false)
  })

  test('shares neither its ID nor its token with another', () => {
    const one = appserviceOf({})
    expect(sharedKeys(one, appserviceOf({ id: 'x', as_token: 'y' }))).toEqual([])
    expect(sharedKeys(one, appserviceOf({ as_token: 'y' }))).toEqual(['id'])
    expect(sharedKeys(one, appserviceOf({ id: 'x' }))).toEqual(['as_token'])
  })
})
