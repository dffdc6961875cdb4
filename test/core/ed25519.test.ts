import { expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { hashes, Point, verify as nobleVerify } from '@noble/ed25519'
import { encodeBase64, encodeBase64Url } from '#core/base64.ts'
import { isPublicKey, verifySignature } from '#core/ed25519.ts'
import { SigningKey } from '#core/signing.ts'
import { Random } from './random.ts'

hashes.sha512 = (...messages: Uint8Array[]) => {
  const hash = createHash('sha512')
  for (const message of messages) hash.update(message)
  return new Uint8Array(hash.digest())
}

/** The order of the group. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n

const fromBytes = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
const toBytes = (value: bigint) =>
  new Uint8Array(Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse())
const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))

const message = 'a text'

/** H(R, A, M), the challenge of a signature. */
function challenge(R: Uint8Array, A: Uint8Array): bigint {
  const hash = createHash('sha512').update(R).update(A).update(message).digest()
  return fromBytes(hash) % L
}

const join = (R: Uint8Array, S: bigint) => new Uint8Array([...R, ...toBytes(S)])

const ours = (A: Uint8Array, signature: Uint8Array) =>
  verifySignature(encodeBase64(A), message, encodeBase64(signature))
const noble = (A: Uint8Array, signature: Uint8Array) =>
  nobleVerify(signature, new TextEncoder().encode(message), A)

// A key of our own making, so that signatures can be made to order.
const a = 0x1234567890abcdef1234567890abcdefn
const A = Point.BASE.multiply(a).toBytes()
const r = 0xfedcba0987654321n
const R = Point.BASE.multiply(r).toBytes()
const S = (r + challenge(R, A) * a) % L

test('a sound signature is accepted, here and by another library', () => {
  expect(ours(A, join(R, S))).toBe(true)
  expect(noble(A, join(R, S))).toBe(true)
})

test('every bit of a signature and of a key counts', () => {
  const random = new Random(1)
  for (let round = 0; round < 200; round++) {
    const signature = join(R, S)
    const key = new Uint8Array(A)
    const target = round % 4 === 0 ? key : signature
    target[random.below(target.length)]! ^= 1 << random.below(8)
    expect(ours(key, signature)).toBe(false)
  }
})

test('S is below the order of the group', () => {
  expect(ours(A, join(R, S + L))).toBe(false)
  expect(noble(A, join(R, S + L))).toBe(false)
})

const smallOrder = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].flatMap((point) => {
  const negative = hex(point)
  negative[31]! |= 0x80
  return [hex(point), negative]
})

test('a key of small order is no key, however it is written', () => {
  for (const key of smallOrder) {
    expect(Point.fromBytes(key, true).clearCofactor().is0()).toBe(true)
    expect(isPublicKey(encodeBase64(key))).toBe(false)
  }
  // With the neutral element as key, R = S·B holds for every text.
  const neutral = hex(`01${'00'.repeat(31)}`)
  expect(noble(neutral, join(R, r))).toBe(true)
  expect(ours(neutral, join(R, r))).toBe(false)
})

test('R is not of small order', () => {
  const neutral = hex(`01${'00'.repeat(31)}`)
  const forged = join(neutral, (challenge(neutral, A) * a) % L)
  expect(noble(A, forged)).toBe(true)
  expect(ours(A, forged)).toBe(false)
  for (const point of smallOrder) expect(ours(A, join(point, S))).toBe(false)
})

test('R and the key are in canonical form', () => {
  // y = p + 1 is the neutral element once more.
  const twin = hex(`ee${'ff'.repeat(30)}7f`)
  const forged = join(twin, (challenge(twin, A) * a) % L)
  expect(noble(A, forged)).toBe(true)
  expect(ours(A, forged)).toBe(false)
  // All y from p on, with either sign.
  for (let first = 0xed; first <= 0xff; first++)
    for (const last of ['7f', 'ff'])
      expect(isPublicKey(encodeBase64(hex(first.toString(16) + 'ff'.repeat(30) + last)))).toBe(
        false,
      )
  // The largest canonical y that is a point.
  expect(isPublicKey(encodeBase64(hex(`eb${'ff'.repeat(30)}7f`)))).toBe(true)
})

test('the equation is the one without cofactor', () => {
  const torsion = Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')
  const mixed = Point.BASE.multiply(a).add(torsion).toBytes()
  // Until the challenge is no multiple of 8, which would kill the torsion part.
  for (let tries = 1n; ; tries++) {
    const point = Point.BASE.multiply(r + tries).toBytes()
    const k = challenge(point, mixed)
    if (k % 8n === 0n) continue
    const forged = join(point, (r + tries + k * a) % L)
    expect(noble(mixed, forged)).toBe(true)
    expect(ours(mixed, forged)).toBe(false)
    break
  }
})

test('what is no key or no signature is refused, not thrown', () => {
  const key = encodeBase64(A)
  const signature = encodeBase64(join(R, S))
  for (const bad of ['', '?', key.slice(0, 42), `${key}AAAA`, 'A'.repeat(100_000)])
    expect(verifySignature(bad, message, signature)).toBe(false)
  for (const bad of ['', '?', signature.slice(0, 85), `${signature}AA`, 'A'.repeat(100_000)])
    expect(verifySignature(key, message, bad)).toBe(false)
})

test('padding and the other alphabet are only another spelling', () => {
  const signature = join(R, S)
  expect(verifySignature(encodeBase64Url(A), message, `${encodeBase64Url(signature)}==`)).toBe(true)
  expect(verifySignature(`${encodeBase64(A)}=`, message, encodeBase64(signature))).toBe(true)
})

test('our own signatures are those of another library, and it accepts them', () => {
  const random = new Random(2)
  for (let round = 0; round < 20; round++) {
    const seed = Uint8Array.from({ length: 32 }, () => random.below(256))
    const key = new SigningKey(`v${round}`, seed)
    const text = `text ${round} é \u{1f600}`
    const signature = new Uint8Array(Buffer.from(key.sign(text), 'base64'))
    const publicKey = new Uint8Array(Buffer.from(key.publicKey, 'base64'))
    expect(nobleVerify(signature, new TextEncoder().encode(text), publicKey)).toBe(true)
    expect(verifySignature(key.publicKey, text, key.sign(text))).toBe(true)
    expect(verifySignature(key.publicKey, `${text}!`, key.sign(text))).toBe(false)
  }
})

test('texts of every length are checked to their last byte, whatever was checked before', () => {
  const key = new SigningKey('long', new Uint8Array(32).fill(7))
  for (const length of [70_001, 5, 23_334, 65_536, 0, 200_000, 1]) {
    const text = `${'é'.repeat(length)}\u{1f600}`
    const signature = key.sign(text)
    expect(verifySignature(key.publicKey, text, signature)).toBe(true)
    expect(verifySignature(key.publicKey, `${text}.`, signature)).toBe(false)
    expect(verifySignature(key.publicKey, text.slice(0, -2), signature)).toBe(false)
  }
})
