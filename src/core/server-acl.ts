import { globMatcher, hasWildcard } from '#core/glob.ts'
import { isIpLiteral, parseServerName } from '#core/ids.ts'
import type { Json, JsonObject } from '#core/json.ts'

/** Few: thousands of lists are kept, and a good one is judged in microseconds. */
const maxKnown = 64

/**
 * Which servers may take part in a room. Built once per `m.room.server_acl` event: lists of
 * thousands of plain names cost one look-up.
 *
 * Spec: client-server-api/#server-access-control-lists-acls-for-rooms
 */
export class ServerAcl {
  readonly #allow: NameList
  readonly #deny: NameList
  readonly #ipLiterals: boolean
  /** What was found of servers: an event may hold thousands of patterns, and its room many events. */
  readonly #known = new Map<string, boolean>()

  constructor(content: JsonObject) {
    this.#allow = new NameList(content['allow'])
    this.#deny = new NameList(content['deny'])
    this.#ipLiterals = content['allow_ip_literals'] !== false
  }

  /** Whether a server may; its port does not count, nor the case of its name. */
  allows(serverName: string): boolean {
    let allowed = this.#known.get(serverName)
    if (allowed === undefined) {
      allowed = this.#judge(serverName)
      if (this.#known.size >= maxKnown) this.#known.clear()
      this.#known.set(serverName, allowed)
    }
    return allowed
  }

  #judge(serverName: string): boolean {
    const host = (parseServerName(serverName)?.host ?? serverName).toLowerCase()
    if (!this.#ipLiterals && isIpLiteral(host)) return false
    return !this.#deny.has(host) && this.#allow.has(host)
  }
}

class NameList {
  readonly #names = new Set<string>()
  readonly #globs: ((host: string) => boolean)[] = []

  constructor(list: Json | undefined) {
    if (!Array.isArray(list)) return
    for (const entry of list) {
      if (typeof entry !== 'string') continue
      const pattern = entry.toLowerCase()
      if (hasWildcard(pattern)) this.#globs.push(globMatcher(pattern))
      else this.#names.add(pattern)
    }
  }

  has(host: string): boolean {
    return this.#names.has(host) || this.#globs.some((fits) => fits(host))
  }
}
