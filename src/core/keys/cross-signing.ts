import { isPublicKey } from '#core/ed25519.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { isSignedBy } from './device-keys.ts'
import { type KeyFault, badSignature, invalidKey } from './fault.ts'

export const usages = ['master', 'self_signing', 'user_signing'] as const
export type Usage = (typeof usages)[number]

/** A cross-signing key; `json` is the object as uploaded. */
export type CrossSigningKey = { usage: Usage; publicKey: string; json: JsonObject }

/** Not spec: the bytes that one key may have, with its signatures. */
const maxBytes = 16_384

/**
 * Reads a cross-signing key of a user, or says what is wrong with it.
 *
 * Spec: client-server-api/#cross-signing
 */
export function readCrossSigningKey(
  usage: Usage,
  json: JsonObject,
  userId: string,
): CrossSigningKey | KeyFault {
  const name = `${usage}_key`
  const { user_id: owner, usage: uses, keys } = json as Record<string, Json | undefined>
  if (owner !== userId) return invalidKey(`${name}: 'user_id' is not ${userId}`)
  if (!Array.isArray(uses) || !uses.includes(usage))
    return invalidKey(`${name}: 'usage' does not name ${usage}`)
  const entries = isObject(keys ?? null) ? Object.entries(keys as JsonObject) : []
  const [keyId, publicKey] = entries[0] ?? []
  if (entries.length !== 1 || typeof publicKey !== 'string' || keyId !== `ed25519:${publicKey}`)
    return invalidKey(`${name}: 'keys' has not exactly one key, named 'ed25519:' and itself`)
  if (!isPublicKey(publicKey)) return invalidKey(`${name}: '${publicKey}' is no Ed25519 key`)
  if (JSON.stringify(json).length > maxBytes)
    return invalidKey(`${name} has more than ${maxBytes} bytes`)
  return { usage, publicKey, json }
}

/** What is wrong with the master key's signature of another key; a master key needs none. */
export function masterSignatureFault(
  { usage, json }: CrossSigningKey,
  userId: string,
  master: string,
): KeyFault | undefined {
  if (usage === 'master' || isSignedBy(json, userId, `ed25519:${master}`, master)) return undefined
  return badSignature(`${usage}_key: not signed by the master key`)
}

export const isFault = (value: object): value is KeyFault => 'errcode' in value
