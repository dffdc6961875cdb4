import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { decodeBase64, encodeBase64Url } from '#core/base64.ts'

/**
 * Ed25519, synchronous, and as strict as libsodium, which most of the network checks with: the
 * equation without cofactor, S below the group order, R in canonical form (all three by the native
 * verifier), and here: neither the key nor R of small order, the key in canonical form. Servers that
 * differ in what they accept would split their view of a room.
 *
 * Spec: appendices/#signing-details
 */

/** The y coordinates of all points of order 1, 2, 4 and 8, and their non-canonical encodings. */
const smallOrder = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])

/** How they begin: nearly every other point begins in another way. */
const firstBytes = new Set(Array.from(smallOrder, (hex) => Number.parseInt(hex.slice(0, 2), 16)))

/** Whether 32 bytes encode a point of small order, whatever their sign bit. */
function hasSmallOrder(point: Uint8Array): boolean {
  if (!firstBytes.has(point[0]!)) return false
  const y = Buffer.from(point)
  y[31]! &= 0x7f
  return smallOrder.has(y.toString('hex'))
}

/** Whether the y coordinate of 32 bytes is below the prime 2^255 − 19. */
function isCanonical(point: Uint8Array): boolean {
  if ((point[31]! & 0x7f) !== 0x7f || point[0]! < 0xed) return true
  return !point.subarray(1, 31).every((byte) => byte === 0xff)
}

/** Keys by their base64 text; null is one that no signature may be checked with. */
const publicKeys = new Map<string, KeyObject | null>()
const maxPublicKeys = 4096

function publicKeyOf(base64: string): KeyObject | null {
  let key = publicKeys.get(base64)
  if (key === undefined) {
    key = importPublicKey(base64)
    if (publicKeys.size >= maxPublicKeys) publicKeys.delete(publicKeys.keys().next().value!)
    publicKeys.set(base64, key)
  }
  return key
}

function importPublicKey(base64: string): KeyObject | null {
  const bytes = base64.length <= 48 ? decodeBase64(base64) : undefined
  if (bytes?.length !== 32 || !isCanonical(bytes) || hasSmallOrder(bytes)) return null
  try {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: encodeBase64Url(bytes) }
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return null
  }
}

/** Whether a text may be used as a public key. */
export const isPublicKey = (base64: string): boolean => publicKeyOf(base64) !== null

/** Texts are written here to be checked: a Buffer of its own for each costs much more. */
const scratch = Buffer.allocUnsafe(70_000)

const bytesOf = (text: string): Uint8Array =>
  text.length * 3 <= scratch.length || Buffer.byteLength(text) <= scratch.length
    ? scratch.subarray(0, scratch.write(text))
    : Buffer.from(text)

/** Whether a signature of a text is one of this public key; both are base64. */
export function verifySignature(publicKey: string, text: string, signature: string): boolean {
  const bytes = signature.length <= 96 ? decodeBase64(signature) : undefined
  if (bytes?.length !== 64 || hasSmallOrder(bytes.subarray(0, 32))) return false
  const key = publicKeyOf(publicKey)
  return key !== null && verify(null, bytesOf(text), key, bytes)
}
