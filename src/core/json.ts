/** Any JSON value, as `parseJson` gives it: see `RawNumber` for what its objects may also be. */
export type Json = null | boolean | number | string | Json[] | JsonObject
export type JsonObject = { [key: string]: Json }

/**
 * A number that JavaScript cannot hold byte for byte (`1.50`, `2e3`, 2^60), as `JSON.rawJSON` keeps
 * it: `JSON.stringify` writes the digits that came in. Only rooms of version 1–5 may hold one.
 */
export type RawNumber = { readonly rawJSON: string }

// TypeScript does not know these two yet.
const raw = JSON as unknown as {
  rawJSON(this: void, text: string): RawNumber
  isRawJSON(this: void, value: unknown): value is RawNumber
}
export const rawNumber = raw.rawJSON
export const isRawNumber = raw.isRawJSON

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawNumber(value)

/** The value of a number however it was kept; undefined for everything else. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  return isRawNumber(value) ? Number(value.rawJSON) : undefined
}

/** Sets an own key, also when it is named `__proto__`. */
export function setKey(object: JsonObject, key: string, value: Json): void {
  if (key !== '__proto__') object[key] = value
  else
    Object.defineProperty(object, key, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    })
}

/** A shallow copy without some keys; the order of the others stays. */
export function without(object: JsonObject, ...keys: readonly string[]): JsonObject {
  const copy: JsonObject = {}
  for (const key in object) if (!keys.includes(key)) setKey(copy, key, object[key]!)
  return copy
}
