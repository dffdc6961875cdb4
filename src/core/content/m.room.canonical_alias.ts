import { isRoomAlias } from '#core/ids.ts'
import type { Json, JsonObject } from '#core/json.ts'

/**
 * What the server reads of `m.room.canonical_alias`.
 *
 * Spec: client-server-api/#mroomcanonical_alias
 */

/** The main alias of a room. */
export function canonicalAliasOf(content: JsonObject | undefined): string | undefined {
  const alias = content?.['alias']
  return isAlias(alias) ? alias : undefined
}

/** The other aliases that a room advertises. */
export function altAliasesOf(content: JsonObject | undefined): string[] {
  const aliases = content?.['alt_aliases']
  return Array.isArray(aliases) ? aliases.filter(isAlias) : []
}

const isAlias = (alias: Json | undefined): alias is string =>
  typeof alias === 'string' && isRoomAlias(alias)

/**
 * What of a new content may not stand as it is: an alias that is none, or one that the content before
 * did not have and that must therefore be looked up. Undefined if the content is malformed.
 */
export function newAliases(
  content: JsonObject,
  before: JsonObject | undefined,
): string[] | undefined {
  const { alias, alt_aliases: alternatives = [] } = content
  const isAbsent = alias === undefined || alias === null || alias === ''
  if (!isAbsent && !isAlias(alias)) return undefined
  if (!Array.isArray(alternatives) || !alternatives.every(isAlias)) return undefined
  const known = new Set([canonicalAliasOf(before), ...altAliasesOf(before)])
  const all = new Set(isAbsent ? alternatives : [alias as string, ...alternatives])
  return [...all].filter((each) => !known.has(each))
}
