import { parseJson } from '#core/canonical-json.ts'
import { isObject, type JsonObject, setKey } from '#core/json.ts'

/** A copy of a key with more signatures of one user, by key ID; those it has are kept. */
export function withSignatures(
  key: JsonObject,
  signer: string,
  signatures: Iterable<readonly [keyId: string, signature: string]>,
): JsonObject {
  const own: JsonObject = {}
  const all = isObject(key['signatures'] ?? null) ? (key['signatures'] as JsonObject) : {}
  const before = Object.hasOwn(all, signer) ? all[signer] : undefined
  for (const [keyId, signature] of signatures) setKey(own, keyId, signature)
  const more: JsonObject = { ...all }
  setKey(more, signer, isObject(before) ? { ...before, ...own } : own)
  return { ...key, signatures: more }
}

/** A key that we stored as text, with signatures of its owner that came later, a JSON map. */
export function storedKey(json: string, owner: string, signatures: string | null): JsonObject {
  const key = parseJson(json) as JsonObject
  if (signatures === null) return key
  return withSignatures(
    key,
    owner,
    Object.entries(JSON.parse(signatures) as Record<string, string>),
  )
}
