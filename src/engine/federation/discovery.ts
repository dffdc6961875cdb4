import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { isIpLiteral, parseServerName } from '#core/ids.ts'
import { type Dns, orderSrv } from '#engine/federation/dns.ts'
import { unlessAborted } from '#engine/federation/waiting.ts'
import type { WellKnown } from '#engine/federation/well-known.ts'

/** Where a server is to be reached, and how it must prove itself. */
export type Target = {
  /** A name to be looked up, or an IP address without brackets. */
  host: string
  port: number
  /** The `Host` header. */
  hostHeader: string
  /** The name or the IP address that the certificate must be for. */
  certificateName: string
  /** The operator named the address: the blocked ranges do not count. */
  trusted: boolean
  /** Over HTTP, without a certificate: never another homeserver. */
  plain?: boolean
}

export type DiscoveryOptions = {
  dns: Dns
  wellKnown: WellKnown
  /** Server names that are dialled at a given `host:port`, whatever discovery would find. */
  staticDestinations: ReadonlyMap<string, string>
  random?: () => number
}

const defaultPort = 8448
/** DNS does not tell this interface how long its answers are good for. */
const keepMs = 300_000

/**
 * Finds where a server name leads, best target first.
 *
 * Spec: server-server-api/#resolving-server-names
 */
export class Discovery {
  readonly #options: DiscoveryOptions
  readonly #found = new LRUCache<string, Target[]>({ ...atMost(20_000), ttl: keepMs })

  constructor(options: DiscoveryOptions) {
    this.#options = options
  }

  async find(serverName: string, signal: AbortSignal): Promise<Target[]> {
    const known = this.#found.get(serverName)
    if (known) return known
    const targets = await this.#resolve(serverName, signal)
    this.#found.set(serverName, targets)
    return targets
  }

  /** The targets did not work: the next request looks again. What well-known said stays. */
  forget(serverName: string): void {
    this.#found.delete(serverName)
  }

  async #resolve(serverName: string, signal: AbortSignal): Promise<Target[]> {
    const parsed = parseServerName(serverName)
    if (!parsed) throw new Error(`'${serverName}' is not a server name`)
    const { host, port } = parsed

    const fixed = this.#options.staticDestinations.get(serverName)
    if (fixed !== undefined) return [staticTarget(fixed, host, serverName)]

    // 1. An IP literal. 2. An explicit port.
    if (isIpLiteral(host) || port !== undefined) return [direct(host, port, serverName)]

    // 3. What the server's well-known file says.
    const delegated = await this.#options.wellKnown.lookUp(host, signal)
    if (delegated !== undefined) {
      const to = parseServerName(delegated)
      if (to) {
        // 3.1 An IP literal. 3.2 An explicit port.
        if (isIpLiteral(to.host) || to.port !== undefined)
          return [direct(to.host, to.port, delegated)]
        // 3.3–3.5.
        return this.#bySrv(to.host, signal)
      }
    }
    // 4–6.
    return this.#bySrv(host, signal)
  }

  /** The SRV record of today, the deprecated one, or else the default port of the name itself. */
  async #bySrv(host: string, signal: AbortSignal): Promise<Target[]> {
    const { dns, random = Math.random } = this.#options
    for (const service of ['_matrix-fed', '_matrix']) {
      const records = await unlessAborted(dns.srv(`${service}._tcp.${host}`), signal)
      const ordered = orderSrv(records, random)
      if (ordered.length > 0)
        return ordered.slice(0, 4).map(({ name, port }) => ({
          host: name,
          port,
          hostHeader: host,
          certificateName: host,
          trusted: false,
        }))
    }
    return [direct(host, undefined, host)]
  }
}

function direct(host: string, port: number | undefined, hostHeader: string): Target {
  const bare = withoutBrackets(host)
  return {
    host: bare,
    port: port ?? defaultPort,
    hostHeader,
    certificateName: bare,
    trusted: false,
  }
}

function staticTarget(address: string, host: string, serverName: string): Target {
  const to = parseServerName(address)
  if (!to) throw new Error(`The static destination '${address}' is not host:port`)
  return {
    host: withoutBrackets(to.host),
    port: to.port ?? defaultPort,
    hostHeader: serverName,
    certificateName: withoutBrackets(host),
    trusted: true,
  }
}

const withoutBrackets = (host: string) => (host.startsWith('[') ? host.slice(1, -1) : host)
