import { isIPv6 } from 'node:net'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * Identifiers and server names: what is one, and what they say.
 *
 * NUL and lone surrogates are refused everywhere: PostgreSQL can store neither, and two IDs that
 * differ in a lone surrogate would be one ID once written as UTF-8.
 *
 * Spec: appendices/#identifier-grammar
 */
export const maxIdBytes = 255

/** Whether a text is at most 255 bytes of UTF-8 and has no NUL and no lone surrogate. */
export function isShortText(text: string): boolean {
  if (text.length > maxIdBytes) return false
  // A UTF-16 unit is at most 3 bytes.
  if (text.length * 3 > maxIdBytes && Buffer.byteLength(text) > maxIdBytes) return false
  return !text.includes('\0') && text.isWellFormed()
}

const hostAndPort = /^(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z.-]{1,255})(?::(\d{1,5}))?$/

/** Whether a text is a server name: a DNS name or an IP literal, with or without a port. */
export const isServerName = (name: string): boolean =>
  name.startsWith('[')
    ? parseServerName(name) !== undefined
    : name.length <= maxIdBytes && hostAndPort.test(name)

/** The two parts of a server name; the host of an IPv6 literal keeps its brackets. */
export function parseServerName(
  name: string,
): { host: string; port: number | undefined } | undefined {
  if (name.length > maxIdBytes) return undefined
  const match = hostAndPort.exec(name)
  if (!match) return undefined
  const host = match[1]!
  if (host.startsWith('[') && !isIPv6(host.slice(1, -1))) return undefined
  return { host, port: match[2] === undefined ? undefined : Number(match[2]) }
}

const ipv4 = /^\d{1,3}(?:\.\d{1,3}){3}$/

/** Whether the host of a server name is an IP literal. */
export const isIpLiteral = (host: string): boolean => host.startsWith('[') || ipv4.test(host)

/**
 * What stands behind the first colon of an ID: the server that made it. Undefined if there is none;
 * the result is no valid server name unless the ID was checked.
 */
export function domainOf(id: string): string | undefined {
  const colon = id.indexOf(':')
  return colon < 0 ? undefined : id.slice(colon + 1)
}

/** What stands between the sigil and the first colon, or the end. */
export function localpartOf(id: string): string {
  const colon = id.indexOf(':')
  return colon < 0 ? id.slice(1) : id.slice(1, colon)
}

function hasDomain(id: string, sigil: string): boolean {
  if (!id.startsWith(sigil) || !isShortText(id)) return false
  const domain = domainOf(id)
  return domain !== undefined && isServerName(domain)
}

/** A user ID of the historical grammar: all that federation must accept, also an empty localpart. */
export const isUserId = (id: string): boolean => hasDomain(id, '@')

/** A user ID that keeps to today's grammar: the only kind this server makes or shows out of events. */
export const isStrictUserId = (id: string): boolean =>
  isUserId(id) && /^[a-z0-9._=/+-]+$/.test(localpartOf(id))

/** A localpart that a new account may have; application services may keep to the same rule. */
export const isNewLocalpart = (localpart: string): boolean => /^[a-z0-9._=/+-]+$/.test(localpart)

/** A user ID of printable ASCII: others are not shown to clients outside of events. */
export const isCompliantUserId = (id: string): boolean =>
  isUserId(id) && /^[\u0021-\u007e]+$/.test(localpartOf(id))

export const isRoomAlias = (id: string): boolean => hasDomain(id, '#')

// The last digit of 43 holds 4 bits. Others would be second names for the same hash.
const hash43 = '[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]'
const urlHashId = new RegExp(`^\\$${hash43}$`)
const standardHashId = /^\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$/
const hashRoomId = new RegExp(`^!${hash43}$`)

/** A room ID of any version. */
export const isRoomId = (id: string): boolean => hasDomain(id, '!') || hashRoomId.test(id)

/** A room ID as this version writes it: with a domain, or (v12+) the hash of the create event. */
export const isRoomIdOf = (version: RoomVersion, id: string): boolean =>
  version.createEventIsRoomId ? hashRoomId.test(id) : hasDomain(id, '!')

/** An event ID of any version. */
export const isEventId = (id: string): boolean =>
  urlHashId.test(id) || standardHashId.test(id) || hasDomain(id, '$')

/** An event ID as this version writes it. */
export function isEventIdOf(version: RoomVersion, id: string): boolean {
  if (version.eventFormat === 'named') return hasDomain(id, '$')
  return (version.eventIdBase64 === 'url' ? urlHashId : standardHashId).test(id)
}

/** The room whose create event has this ID (v12+), and back. */
export const roomIdOfCreate = (eventId: string): string => `!${eventId.slice(1)}`
export const createOfRoomId = (roomId: string): string => `$${roomId.slice(1)}`

/** 1 to 32 characters that may name a room version; whether we know it is another question. */
export const isRoomVersionId = (id: string): boolean => /^[a-z0-9.-]{1,32}$/.test(id)
