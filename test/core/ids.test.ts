import { describe, expect, test } from 'bun:test'
import { decodeBase64, encodeBase64, encodeBase64Url } from '#core/base64.ts'
import {
  domainOf,
  isCompliantUserId,
  isEventId,
  isEventIdOf,
  isIpLiteral,
  isRoomAlias,
  isRoomId,
  isRoomIdOf,
  isRoomVersionId,
  isServerName,
  isShortText,
  isStrictUserId,
  isUserId,
  localpartOf,
  parseServerName,
} from '#core/ids.ts'
import { roomVersions } from '#core/room-version.ts'

const version = (id: string) => roomVersions.get(id)!

describe('server names', () => {
  test.each([
    'matrix.org',
    'matrix.org:8888',
    '1.2.3.4',
    '1.2.3.4:1234',
    '[1234:5678::abcd]',
    '[1234:5678::abcd]:5678',
    '[::ffff:1.2.3.4]',
    'localhost',
    'MATRIX.org',
    'a-b.c:1',
    `${'a'.repeat(249)}:12345`,
  ])('%s is one', (name) => expect(isServerName(name)).toBe(true))

  test.each([
    '',
    ':80',
    'a:',
    'a:b',
    'a:123456',
    'a:80:80',
    'a_b',
    'a b',
    'a/b',
    'ä.org',
    'a\0b',
    'a\n',
    '[::1',
    '::1',
    '[:::1]',
    '[1]',
    '[fe80::1%eth0]',
    '[::1]x',
    'a'.repeat(256),
  ])('%p is none', (name) => expect(isServerName(name)).toBe(false))

  test('they have a host and perhaps a port', () => {
    expect(parseServerName('[::1]:80')).toEqual({ host: '[::1]', port: 80 })
    expect(parseServerName('a.b')).toEqual({ host: 'a.b', port: undefined })
    expect(['1.2.3.4', '[::1]', 'a.b', '1.2.3.4.5'].map(isIpLiteral)).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})

describe('user IDs', () => {
  test.each(['@a:b', '@:b', '@A B\x01é\u{1f600}:b:80', '@a:[::1]:80', '@a@b#c:d'])(
    '%p must be accepted over federation',
    (id) => expect(isUserId(id)).toBe(true),
  )
  test.each(['a:b', '@a', '@a:', '@a:b:c', '@a\0:b', '@a\ud800:b', '@a:b_c', ''])(
    '%p is none',
    (id) => expect(isUserId(id)).toBe(false),
  )

  test('new ones keep to a narrow grammar', () => {
    expect(isStrictUserId('@az09._=-/+:b')).toBe(true)
    for (const id of ['@:b', '@A:b', '@a b:b', '@é:b', '@a:'])
      expect(isStrictUserId(id)).toBe(false)
    expect(isCompliantUserId('@A!~:b')).toBe(true)
    for (const id of ['@:b', '@é:b', '@a b:b']) expect(isCompliantUserId(id)).toBe(false)
  })

  test('255 bytes are the limit, not 255 characters', () => {
    expect(isUserId(`@${'a'.repeat(252)}:b`)).toBe(true)
    expect(isUserId(`@${'a'.repeat(253)}:b`)).toBe(false)
    expect(isUserId(`@${'é'.repeat(126)}:b`)).toBe(true)
    expect(isUserId(`@${'é'.repeat(127)}:b`)).toBe(false)
    expect(isShortText('\u{1f600}'.repeat(63))).toBe(true)
    expect(isShortText('\u{1f600}'.repeat(64))).toBe(false)
  })

  test('the domain stands behind the first colon', () => {
    expect(domainOf('@a:b:80')).toBe('b:80')
    expect(domainOf('@a:[::1]:80')).toBe('[::1]:80')
    expect(domainOf('!abc')).toBeUndefined()
    expect(localpartOf('@a:b:80')).toBe('a')
    expect(localpartOf('!abc')).toBe('abc')
  })
})

const hash = `${'a'.repeat(42)}A`

describe('room IDs, event IDs and aliases', () => {
  test('before v12 a room ID has a domain, since v12 it has none', () => {
    expect(isRoomIdOf(version('11'), '!a:b')).toBe(true)
    expect(isRoomIdOf(version('11'), `!${hash}`)).toBe(false)
    expect(isRoomIdOf(version('12'), '!a:b')).toBe(false)
    expect(isRoomIdOf(version('12'), `!${hash}`)).toBe(true)
    expect(isRoomId('!a:b') && isRoomId(`!${hash}`)).toBe(true)
    for (const id of ['!a', '#a:b', `!${hash}A`, '!a\0:b', '!a:b/c'])
      expect(isRoomId(id)).toBe(false)
  })

  test('event IDs are of the alphabet of their version', () => {
    const standard = `$${'+/'.repeat(21)}A`
    const url = `$${'-_'.repeat(21)}A`
    expect(isEventIdOf(version('2'), '$a:b')).toBe(true)
    expect(isEventIdOf(version('2'), url)).toBe(false)
    expect(isEventIdOf(version('3'), standard)).toBe(true)
    expect(isEventIdOf(version('3'), url)).toBe(false)
    expect(isEventIdOf(version('4'), standard)).toBe(false)
    expect(isEventIdOf(version('4'), url)).toBe(true)
    for (const id of ['$a:b', standard, url]) expect(isEventId(id)).toBe(true)
    for (const id of ['$a', '!a:b', '$']) expect(isEventId(id)).toBe(false)
  })

  test('a hash has one spelling: bits that are left over must be zero', () => {
    expect(isEventIdOf(version('4'), `$${'a'.repeat(42)}B`)).toBe(false)
    for (const last of 'AEIMQUYcgkosw048') {
      const bytes = decodeBase64(`${'a'.repeat(42)}${last}`)!
      expect(encodeBase64(bytes)).toBe(`${'a'.repeat(42)}${last}`)
    }
  })

  test('an alias may hold nearly anything', () => {
    expect(isRoomAlias('#é \u{1f600}:b')).toBe(true)
    for (const id of ['#a', '#a\0:b', '#a:b c', '@a:b']) expect(isRoomAlias(id)).toBe(false)
  })

  test('room versions have a grammar', () => {
    for (const id of ['1', '12', 'org.example.v1-beta']) expect(isRoomVersionId(id)).toBe(true)
    for (const id of ['', 'A', 'a_b', 'a'.repeat(33)]) expect(isRoomVersionId(id)).toBe(false)
  })
})

test('unpadded base64 as the spec writes it', () => {
  const cases = { '': '', f: 'Zg', fo: 'Zm8', foo: 'Zm9v', foob: 'Zm9vYg', fooba: 'Zm9vYmE' }
  for (const [text, encoded] of Object.entries(cases)) {
    expect(encodeBase64(Buffer.from(text))).toBe(encoded)
    expect(Buffer.from(decodeBase64(encoded)!).toString()).toBe(text)
    const padded = encoded.padEnd(Math.ceil(encoded.length / 4) * 4, '=')
    expect(Buffer.from(decodeBase64(padded)!).toString()).toBe(text)
  }
  const bytes = new Uint8Array([251, 255, 191])
  expect([encodeBase64(bytes), encodeBase64Url(bytes)]).toEqual(['+/+/', '-_-_'])
  expect(decodeBase64('-_-_')).toEqual(decodeBase64('+/+/')!)
  for (const bad of ['a', 'aaaaa', 'a b', 'é', 'Zg=a', 'Zg==='])
    expect(decodeBase64(bad)).toBeUndefined()
})
