import { canonicalJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject, without } from '#core/json.ts'
import { deviceKeyOf, isSignedBy, signatureIn } from './device-keys.ts'
import { type KeyFault, badSignature, invalidKey } from './fault.ts'

/** What is known of the keys of one user. */
export type KnownKeys = {
  /** The identity keys of their devices. */
  devices: ReadonlyMap<string, JsonObject>
  master: JsonObject | undefined
  selfSigning: JsonObject | undefined
  userSigning: JsonObject | undefined
}

export type CheckedSignature = {
  targetUser: string
  /** A device ID, or the public key of a master key. */
  targetKey: string
  keyId: string
  signature: string
}

export type CheckedSignatures = {
  good: CheckedSignature[]
  /** By user and key. */
  faults: Map<string, Map<string, KeyFault>>
}

const notFound = (error: string): KeyFault => ({ errcode: 'M_NOT_FOUND', error })

/** The public key of a cross-signing key. */
export function publicKeyOf(key: JsonObject | undefined): string | undefined {
  const keys = key?.['keys']
  const [publicKey] = isObject(keys) ? Object.values(keys) : []
  return typeof publicKey === 'string' ? publicKey : undefined
}

/**
 * Checks signatures that a user uploads: of their self-signing key over their own devices, of their
 * devices over their own master key, of their user-signing key over the master keys of others.
 *
 * Spec: client-server-api/#post_matrixclientv3keyssignaturesupload
 */
export function checkSignatures(
  signer: string,
  uploaded: JsonObject,
  known: ReadonlyMap<string, KnownKeys>,
): CheckedSignatures {
  const good: CheckedSignature[] = []
  const faults: CheckedSignatures['faults'] = new Map()
  const own = known.get(signer)
  for (const [targetUser, keys] of Object.entries(uploaded)) {
    if (!isObject(keys)) continue
    for (const [targetKey, key] of Object.entries(keys)) {
      const checked = isObject(key)
        ? checkKey({ signer, own, targetUser, targetKey }, known.get(targetUser), key)
        : invalidKey('The key is not an object')
      if (Array.isArray(checked)) {
        for (const each of checked) good.push({ targetUser, targetKey, ...each })
        continue
      }
      const ofUser = faults.get(targetUser) ?? new Map<string, KeyFault>()
      faults.set(targetUser, ofUser.set(targetKey, checked))
    }
  }
  return { good, faults }
}

type Signature = { keyId: string; signature: string }
type Target = {
  signer: string
  own: KnownKeys | undefined
  targetUser: string
  targetKey: string
}

function checkKey(
  { signer, own, targetUser, targetKey }: Target,
  target: KnownKeys | undefined,
  key: JsonObject,
): Signature[] | KeyFault {
  const isMaster = target !== undefined && publicKeyOf(target.master) === targetKey
  const stored = isMaster
    ? target.master
    : targetUser === signer
      ? target?.devices.get(targetKey)
      : undefined
  if (!stored) return notFound(`There is no such key of ${targetUser}`)
  if (signedPart(stored) !== signedPart(key))
    return badSignature('The key is not the one that is known here')
  const signatures = key['signatures']
  const mine = isObject(signatures) && Object.hasOwn(signatures, signer) && signatures[signer]
  const keyIds = isObject(mine) ? Object.keys(mine) : []
  const checked: Signature[] = []
  for (const keyId of keyIds) {
    const signature = signatureIn(key, signer, keyId)
    // What was there before needs no second look.
    if (signature !== undefined && signature === signatureIn(stored, signer, keyId)) continue
    const signing =
      targetUser !== signer
        ? ifNamed(own?.userSigning, keyId)
        : isMaster
          ? deviceKey(own, keyId)
          : ifNamed(own?.selfSigning, keyId)
    if (signing === undefined) return badSignature(`${keyId} signs no such key`)
    if (signature === undefined || !isSignedBy(key, signer, keyId, signing))
      return badSignature(`The signature of ${keyId} is wrong`)
    checked.push({ keyId, signature })
  }
  if (keyIds.length === 0) return badSignature(`There is no signature of ${signer}`)
  return checked
}

/** The public key of a cross-signing key, if that is the one that is named. */
function ifNamed(key: JsonObject | undefined, keyId: string): string | undefined {
  const publicKey = publicKeyOf(key)
  return keyId === `ed25519:${publicKey}` ? publicKey : undefined
}

function deviceKey(own: KnownKeys | undefined, keyId: string): string | undefined {
  const device = own?.devices.get(keyId.replace(/^ed25519:/, ''))
  return device && deviceKeyOf(device)
}

const signedPart = (key: JsonObject) =>
  canonicalJson(without(key, 'signatures', 'unsigned'), 'tolerant')
