import { expect, test } from 'bun:test'
import { decodeBase64 } from '#core/base64.ts'
import {
  formatSigningKey,
  makeSigningKey,
  parseSigningKeys,
  signaturesOf,
  SigningKey,
  signJson,
  verifyJson,
} from '#core/signing.ts'

/** The key of the spec's test vectors. */
const seed = decodeBase64('YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1')!
const key = new SigningKey('1', seed)

const find = (keyId: string) => (keyId === key.keyId ? key.publicKey : undefined)

test('the signatures of the spec on JSON come out', () => {
  expect(signJson({}, 'domain', key)).toEqual({
    signatures: {
      domain: {
        'ed25519:1':
          'K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ',
      },
    },
  })
  expect(signJson({ one: 1, two: 'Two' }, 'domain', key)).toEqual({
    one: 1,
    two: 'Two',
    signatures: {
      domain: {
        'ed25519:1':
          'KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw',
      },
    },
  })
})

test('a signature covers neither `unsigned` nor other signatures, and all else', () => {
  const other = new SigningKey('2', new Uint8Array(32).fill(7))
  const signed = signJson(signJson({ a: 1, unsigned: { age: 1 } }, 'domain', key), 'notary', other)
  expect(signaturesOf(signed, 'domain')).toHaveLength(1)
  expect(verifyJson(signed, 'domain', find)).toBe(true)
  expect(verifyJson({ ...signed, unsigned: { age: 2 } }, 'domain', find)).toBe(true)
  expect(verifyJson({ ...signed, a: 2 }, 'domain', find)).toBe(false)
  expect(verifyJson({ ...signed, b: 1 }, 'domain', find)).toBe(false)
  expect(verifyJson(signed, 'notary', find)).toBe(false)
})

test('unknown keys are skipped, but every known one must hold', () => {
  const second = new SigningKey('2', new Uint8Array(32).fill(7))
  const signed = signJson(signJson({ a: 1 }, 'domain', key), 'domain', second)
  const both = (keyId: string) => (keyId === second.keyId ? second.publicKey : find(keyId))
  expect(verifyJson(signed, 'domain', find)).toBe(true)
  expect(verifyJson(signed, 'domain', both)).toBe(true)
  const broken = structuredClone(signed)
  ;(broken as never as typeof expected).signatures.domain['ed25519:2'] = 'A'.repeat(86)
  expect(verifyJson(broken, 'domain', find)).toBe(true)
  expect(verifyJson(broken, 'domain', both)).toBe(false)
})
const expected = { signatures: { domain: { 'ed25519:2': '' } } }

test('signatures of a shape that is none are passed over', () => {
  for (const signatures of [[], 'x', null, { domain: [] }, { domain: { 'ed25519:1': 5 } }]) {
    expect(signaturesOf({ signatures }, 'domain')).toEqual([])
    expect(verifyJson({ signatures }, 'domain', find)).toBe(false)
  }
  expect(signaturesOf({ signatures: {} }, 'constructor')).toEqual([])
})

test('a key file is read as Synapse writes it, and written the same way', () => {
  const line = 'ed25519 a_ABCD YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA0\n'
  const [read] = parseSigningKeys(`${line}\n`) as SigningKey[]
  expect(read!.keyId).toBe('ed25519:a_ABCD')
  expect(formatSigningKey(read!)).toBe(line)
  expect(read!.publicKey).toBe(key.publicKey)
})

test('a bad key file says in which line it is bad', () => {
  expect(parseSigningKeys('')).toBe('it holds no key')
  for (const line of [
    'ed25519 a_ABCD',
    'curve25519 a_ABCD YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1',
    'ed25519 a-ABCD YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1',
    'ed25519 a_ABCD YJDB',
    'ed25519 a_ABCD ????',
  ])
    expect(parseSigningKeys(`${formatSigningKey(key)}${line}`)).toStartWith('line 2')
})

test('a new key names itself after its public key', () => {
  const made = makeSigningKey(new Uint8Array(32).fill(1))
  expect(made.keyId).toMatch(/^ed25519:a_[A-Za-z]{4}$/)
  expect(makeSigningKey(new Uint8Array(32).fill(2)).keyId).not.toBe(made.keyId)
  expect(() => makeSigningKey(new Uint8Array(31))).toThrow()
})
