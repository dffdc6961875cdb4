import { expect, test } from 'bun:test'
import { globMatcher, matchesGlob } from '#core/glob.ts'
import type { JsonObject } from '#core/json.ts'
import { ServerAcl } from '#core/server-acl.ts'
import { Random } from './random.ts'

const allowed = (content: JsonObject, ...names: string[]) => {
  const acl = new ServerAcl(content)
  return names.filter((name) => acl.allows(name))
}

test('without an allow list nobody may', () => {
  for (const content of [{}, { allow: [] }, { allow: '*' }, { deny: [] }, { allow: [5, null] }])
    expect(allowed(content, 'a.b', '1.2.3.4')).toEqual([])
})

test('denied is denied, whatever else allows it', () => {
  const content = { allow: ['*'], deny: ['evil.com', '*.evil.com', 'b?d.org'] }
  expect(
    allowed(content, 'good.com', 'evil.com', 'x.evil.com', 'notevil.com', 'bad.org', 'baad.org'),
  ).toEqual(['good.com', 'notevil.com', 'baad.org'])
})

test('the port does not count, nor the case', () => {
  const content = { allow: ['*.OK.com', 'ok.com'], deny: ['Evil.ok.com'] }
  expect(allowed(content, 'OK.COM:8448', 'a.ok.com:1', 'EVIL.ok.com:99', 'evil.OK.com')).toEqual([
    'OK.COM:8448',
    'a.ok.com:1',
  ])
  // A rule with a port matches no name.
  expect(allowed({ allow: ['*'], deny: ['evil.com:80'] }, 'evil.com:80')).toEqual(['evil.com:80'])
})

test('IP literals may be refused altogether', () => {
  const names = ['1.2.3.4', '1.2.3.4:80', '[::1]', '[::1]:80', 'a.b']
  expect(allowed({ allow: ['*'], allow_ip_literals: false }, ...names)).toEqual(['a.b'])
  for (const value of [true, undefined, 'false', null, 0]) {
    const content = { allow: ['*'], ...(value !== undefined && { allow_ip_literals: value }) }
    expect(allowed(content, ...names)).toEqual(names)
  }
  expect(allowed({ allow: ['*'], deny: ['[::1]', '1.2.*'] }, ...names)).toEqual(['a.b'])
})

test('a name that is none is judged like any other', () => {
  expect(allowed({ allow: ['ok.com'] }, '', 'ok.com/', '__proto__')).toEqual([])
})

test('a dot is a dot, and no character is special but * and ?', () => {
  expect(allowed({ allow: ['a.b', 'x[1]', '(y)', '^z$'] }, 'a.b', 'aXb', 'x1', 'y', 'z')).toEqual([
    'a.b',
  ])
})

test('what was found of a server is found again, however many ask', () => {
  const acl = new ServerAcl({ allow: ['*'], deny: ['*.evil.com'] })
  for (let round = 0; round < 2; round++)
    for (let n = 0; n < 1_500; n++) {
      const found = [acl.allows(`${n}.good.com`), acl.allows(`${n}.evil.com`)]
      expect(found).toEqual([true, false])
    }
})

test('a pattern made to backtrack is answered at once', () => {
  const content = { allow: [`${'*a'.repeat(100)}*b`] }
  expect(allowed(content, 'a'.repeat(230))).toEqual([])
})

test('globs match what a regular expression would', () => {
  const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  for (let seed = 0; seed < 5_000; seed++) {
    const random = new Random(seed)
    const text = (letters: string[], limit: number) =>
      Array.from({ length: random.below(limit) }, () => random.pick(letters)).join('')
    const pattern = text(['a', 'b', '*', '?', '\u{1f600}'], 7)
    const subject = text(['a', 'b', '\u{1f600}'], 9)
    const regexp = Array.from(pattern, (each) =>
      each === '*' ? '[^]*' : each === '?' ? '[^]' : escape(each),
    )
    const matches = new RegExp(`^${regexp.join('')}$`, 'u').test(subject)
    expect({ seed, matches: matchesGlob(pattern, subject) }).toEqual({ seed, matches })
    expect({ seed, matches: globMatcher(pattern)(subject) }).toEqual({ seed, matches })
  }
})
