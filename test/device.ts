import type { JsonObject } from '#core/json.ts'
import { SigningKey, addSignature, signedTextOf } from '#core/signing.ts'

/** A key pair that signs in the name of a user, under any key ID. */
export class UserKey {
  readonly userId: string
  readonly keyId: string
  readonly publicKey: string
  readonly #key: SigningKey

  constructor(userId: string, name?: string) {
    this.userId = userId
    this.#key = new SigningKey('x', crypto.getRandomValues(new Uint8Array(32)))
    this.publicKey = this.#key.publicKey
    this.keyId = `ed25519:${name ?? this.publicKey}`
  }

  sign(object: JsonObject): JsonObject {
    return addSignature(object, this.userId, this.keyId, this.#key.sign(signedTextOf(object)!))
  }

  /** As a cross-signing key. */
  crossSigning(usage: 'master' | 'self_signing' | 'user_signing'): JsonObject {
    return { user_id: this.userId, usage: [usage], keys: { [this.keyId]: this.publicKey } }
  }
}

/** A made-up device: what it would upload. */
export class Device {
  readonly userId: string
  readonly deviceId: string
  readonly key: UserKey
  #count = 0

  constructor({ userId, deviceId }: { userId: string; deviceId: string }) {
    this.userId = userId
    this.deviceId = deviceId
    this.key = new UserKey(userId, deviceId)
  }

  get keys(): JsonObject {
    return this.key.sign({
      user_id: this.userId,
      device_id: this.deviceId,
      algorithms: ['m.olm.v1.curve25519-aes-sha2', 'm.megolm.v1.aes-sha2'],
      keys: {
        [`ed25519:${this.deviceId}`]: this.key.publicKey,
        [`curve25519:${this.deviceId}`]: 'gRC3tTCBnfCAnOGvd66EwCyMgkeyu8pGJY2gV3gCV0s',
      },
    })
  }

  /** New keys at each call. */
  oneTimeKeys(count: number, more: JsonObject = {}): JsonObject {
    const keys: JsonObject = {}
    for (let n = 0; n < count; n++) {
      const id = String(++this.#count).padStart(4, '0')
      keys[`signed_curve25519:${id}`] = this.key.sign({ key: `curve${id}`, ...more })
    }
    return keys
  }

  fallbackKey(): JsonObject {
    return this.oneTimeKeys(1, { fallback: true })
  }
}

/** A user's three cross-signing keys. */
export class CrossSigning {
  readonly master: UserKey
  readonly selfSigning: UserKey
  readonly userSigning: UserKey

  constructor(userId: string) {
    this.master = new UserKey(userId)
    this.selfSigning = new UserKey(userId)
    this.userSigning = new UserKey(userId)
  }

  /** The body of an upload. */
  get body(): JsonObject {
    return {
      master_key: this.master.sign(this.master.crossSigning('master')),
      self_signing_key: this.master.sign(this.selfSigning.crossSigning('self_signing')),
      user_signing_key: this.master.sign(this.userSigning.crossSigning('user_signing')),
    }
  }
}
