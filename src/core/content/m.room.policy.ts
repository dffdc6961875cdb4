import { isObject, type JsonObject } from '#core/json.ts'

/**
 * What the server reads of `m.room.policy`.
 *
 * Spec: client-server-api/#mroompolicy
 */

/** A policy server, and the key (base64) of its signatures: the room's word, not that server's. */
export type PolicyServer = Readonly<{ via: string; publicKey: string }>

/** The policy server that a content names; undefined if it is not valid: then there is none. */
export function policyServerOf(content: JsonObject): PolicyServer | undefined {
  const { via, public_keys: keys } = content
  if (typeof via !== 'string' || !isObject(keys)) return undefined
  const { ed25519 } = keys
  return typeof ed25519 === 'string' ? { via, publicKey: ed25519 } : undefined
}
