import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { decodeBase64, encodeBase64 } from '#core/base64.ts'
import { canonicalJson } from '#core/canonical-json.ts'
import { verifySignature } from '#core/ed25519.ts'
import { isObject, type Json, type JsonObject, without } from '#core/json.ts'

/**
 * Signatures of JSON objects, and the file that keeps our own keys.
 *
 * Spec: appendices/#signing-json
 */

/** What a signature of an object covers; undefined if the object has no canonical form. */
export const signedTextOf = (object: JsonObject): string | undefined =>
  canonicalJson(without(object, 'signatures', 'unsigned'), 'tolerant')

/** A copy of an object with one more signature; those that it has are kept. */
export function signJson(object: JsonObject, serverName: string, key: SigningKey): JsonObject {
  const text = signedTextOf(object)
  if (text === undefined) throw new TypeError('The object has no canonical JSON form')
  return addSignature(object, serverName, key.keyId, key.sign(text))
}

/** A copy of an object with this signature in it. */
export function addSignature(
  object: JsonObject,
  serverName: string,
  keyId: string,
  signature: string,
): JsonObject {
  const signatures = isObject(object['signatures']) ? object['signatures'] : {}
  const own = signatures[serverName]
  return {
    ...object,
    signatures: {
      ...signatures,
      [serverName]: { ...(isObject(own) ? own : {}), [keyId]: signature },
    },
  }
}

/** The Ed25519 signatures that an object has of one server, as key IDs and base64. */
export function signaturesOf(object: JsonObject, serverName: string): [string, string][] {
  const all = object['signatures']
  if (!isObject(all) || !Object.hasOwn(all, serverName)) return []
  const own = all[serverName]!
  if (!isObject(own)) return []
  return Object.entries(own).filter(isEd25519)
}

const isEd25519 = (entry: [string, Json]): entry is [string, string] =>
  entry[0].startsWith('ed25519:') && typeof entry[1] === 'string'

/**
 * Whether a server has signed an object. Signatures of keys that are unknown (`publicKeyOf` gives
 * undefined) are skipped; of the known ones all must hold, and there must be one.
 */
export function verifyJson(
  object: JsonObject,
  serverName: string,
  publicKeyOf: (keyId: string) => string | undefined,
): boolean {
  const text = signedTextOf(object)
  if (text === undefined) return false
  let verified = false
  for (const [keyId, signature] of signaturesOf(object, serverName)) {
    const publicKey = publicKeyOf(keyId)
    if (publicKey === undefined) continue
    if (!verifySignature(publicKey, text, signature)) return false
    verified = true
  }
  return verified
}

// The fixed head of a private key in PKCS #8, before its 32 bytes.
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex')

/** A key of this server; its ID is `ed25519:` and a version. */
export class SigningKey {
  readonly keyId: string
  readonly seed: Uint8Array
  /** Base64. */
  readonly publicKey: string
  readonly #key: KeyObject

  constructor(version: string, seed: Uint8Array) {
    if (!isKeyVersion(version)) throw new TypeError('A key version has only A-Z, a-z, 0-9 and _')
    if (seed.length !== 32) throw new TypeError('An Ed25519 seed has 32 bytes')
    this.keyId = `ed25519:${version}`
    this.seed = seed
    this.#key = createPrivateKey({
      key: Buffer.concat([pkcs8Head, seed]),
      format: 'der',
      type: 'pkcs8',
    })
    const { x } = createPublicKey(this.#key).export({ format: 'jwk' })
    this.publicKey = encodeBase64(decodeBase64(x!)!)
  }

  /** The version part of the key ID. */
  get version(): string {
    return this.keyId.slice('ed25519:'.length)
  }

  /** The signature of a text, as base64. */
  sign(text: string): string {
    return encodeBase64(sign(null, Buffer.from(text), this.#key))
  }
}

/** Whether a text may stand behind the colon of a key ID that we make. */
export const isKeyVersion = (version: string): boolean => /^[A-Za-z0-9_]+$/.test(version)

/**
 * Reads a file of signing keys, the first of which signs: lines of algorithm, version and base64
 * seed, as Synapse writes them. A text says what is wrong with the file.
 */
export function parseSigningKeys(file: string): SigningKey[] | string {
  const keys: SigningKey[] = []
  for (const [index, line] of file.split('\n').entries()) {
    const words = line.trim().split(/\s+/)
    if (words[0] === '') continue
    const [algorithm, version = '', seedText = ''] = words
    const seed = decodeBase64(seedText)
    if (words.length !== 3) return `line ${index + 1} is not 'ed25519 <version> <seed>'`
    if (algorithm !== 'ed25519') return `line ${index + 1} is of an algorithm other than ed25519`
    if (!isKeyVersion(version)) return `line ${index + 1} has a version with other than A-Za-z0-9_`
    if (seed?.length !== 32) return `line ${index + 1} has a seed that is not 32 bytes of base64`
    keys.push(new SigningKey(version, seed))
  }
  return keys.length > 0 ? keys : 'it holds no key'
}

/** The line of a key in such a file. */
export const formatSigningKey = (key: SigningKey): string =>
  `ed25519 ${key.version} ${encodeBase64(key.seed)}\n`

/** Makes a key of 32 random bytes; its version is taken from the public key. */
export function makeSigningKey(random: Uint8Array): SigningKey {
  const { publicKey } = new SigningKey('new', random)
  return new SigningKey(`a_${publicKey.replace(/[^A-Za-z]/g, '').slice(0, 4)}`, random)
}
