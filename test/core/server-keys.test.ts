import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { stableVersions } from '#core/room-version.ts'
import {
  buildKeyDocument,
  checkKeyDocument,
  type KeyDocument,
  type ServerKey,
  signsEvents,
  signsRequests,
} from '#core/server-keys.ts'
import { SigningKey, signJson } from '#core/signing.ts'

const key = new SigningKey('new', new Uint8Array(32).fill(1))
const second = new SigningKey('second', new Uint8Array(32).fill(2))
const retired = new SigningKey('old', new Uint8Array(32).fill(3))
const old = [{ keyId: retired.keyId, publicKey: retired.publicKey, expiredTs: 500 }]

const document = buildKeyDocument('hs1', [key, second], old, 1000)

test('our own key document passes the check of others', () => {
  const checked = checkKeyDocument(document, 'hs1') as KeyDocument
  expect(checked.validUntilTs).toBe(1000)
  expect(Object.fromEntries(checked.keys)).toEqual({
    'ed25519:new': { publicKey: key.publicKey, validUntilTs: 1000, old: false },
    'ed25519:second': { publicKey: second.publicKey, validUntilTs: 1000, old: false },
    'ed25519:old': { publicKey: retired.publicKey, validUntilTs: 500, old: true },
  })
})

test('a key document is refused if its name, its time or a signature is wrong', () => {
  const refused: [unknown, string][] = [
    [null, 'not an object'],
    [[], 'not an object'],
    [{ ...document, server_name: 'hs2' }, 'another server'],
    [{ ...document, valid_until_ts: '1000' }, 'valid_until_ts'],
    [{ ...document, valid_until_ts: -1 }, 'valid_until_ts'],
    [{ ...document, valid_until_ts: 2000 }, 'not signed'],
    [{ ...document, verify_keys: [] }, 'verify_keys'],
    [{ ...document, verify_keys: {} }, 'not signed'],
    [{ ...document, signatures: {} }, 'not signed'],
  ]
  for (const [json, reason] of refused) expect(checkKeyDocument(json, 'hs1')).toContain(reason)
  expect(checkKeyDocument(document, 'hs2')).toContain('another server')
})

test('an old key cannot vouch for a document', () => {
  const forged = signJson({ ...document, valid_until_ts: 9000, signatures: {} }, 'hs1', retired)
  expect(checkKeyDocument(forged, 'hs1')).toContain('not signed')
})

test('keys that are none are passed over, and do not spoil the others', () => {
  const { signatures: _, ...body } = document
  const odd: JsonObject = {
    ...body,
    verify_keys: {
      ...(body['verify_keys'] as JsonObject),
      'ed25519:short': { key: 'AAAA' },
      'ed25519:small': { key: 'A'.repeat(43) },
      'curve25519:x': { key: key.publicKey },
      'ed25519:null': null,
    },
    old_verify_keys: { 'ed25519:forever': { key: retired.publicKey } },
  }
  const checked = checkKeyDocument(signJson(odd, 'hs1', key), 'hs1') as KeyDocument
  expect([...checked.keys.keys()]).toEqual(['ed25519:new', 'ed25519:second'])
})

test('a document with keys without end is refused', () => {
  const many = Array.from({ length: 101 }, (_, index) => [
    `ed25519:${index}`,
    { key: key.publicKey },
  ])
  const json = { ...document, verify_keys: Object.fromEntries(many), signatures: {} }
  expect(checkKeyDocument(signJson(json, 'hs1', key), 'hs1')).toContain('too many')
})

test('a notary may add its signature', () => {
  const notary = new SigningKey('n', new Uint8Array(32).fill(9))
  expect(checkKeyDocument(signJson(document, 'notary', notary), 'hs1')).toBeObject()
})

const day = 24 * 60 * 60 * 1000
const now = 100 * day
const current: ServerKey = { publicKey: '', validUntilTs: now + 30 * day, old: false }
const stale: ServerKey = { publicKey: '', validUntilTs: now - day, old: false }
const expired: ServerKey = { publicKey: '', validUntilTs: now - day, old: true }

test('v1–v4 do not ask how long a key is valid; since v5 it must be at the time of the event', () => {
  for (const [id, version] of stableVersions) {
    const signs = (serverKey: ServerKey, at: number) => signsEvents(serverKey, version, at, now)
    const lax = Number(id) < 5
    expect(signs(current, now)).toBe(true)
    expect(signs(stale, now - 2 * day)).toBe(true)
    expect(signs(stale, now)).toBe(lax)
    // No key is believed for more than a week ahead.
    expect(signs(current, now + 7 * day)).toBe(true)
    expect(signs(current, now + 7 * day + 1)).toBe(lax)
    // An old key is good up to the moment it expired, in every version.
    expect(signs(expired, now - day)).toBe(true)
    expect(signs(expired, now - day + 1)).toBe(false)
  }
})

test('requests need a key that is valid now, never an old one', () => {
  expect(signsRequests(current, now)).toBe(true)
  expect(signsRequests(stale, now)).toBe(false)
  expect(signsRequests({ ...expired, validUntilTs: now + day }, now)).toBe(false)
})
