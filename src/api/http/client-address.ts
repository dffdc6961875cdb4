import ipaddr from 'ipaddr.js'

/** What tells the address of a caller: a `Bun.Server`. */
export type Peer = { requestIP(request: Request): { address: string } | null }

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number]

/**
 * Where a request comes from. `X-Forwarded-For` is believed from the right, as far as the addresses
 * in it are those of trusted proxies; the rest of it may be anybody's invention.
 */
export function addressReader(trustedProxies: readonly string[]) {
  const trusted = trustedProxies.map(range)
  return (request: Request, peer: Peer | undefined): string => {
    let address = plain(peer?.requestIP(request)?.address ?? '127.0.0.1')
    if (trusted.length === 0 || !isIn(trusted, address)) return address
    const hops = request.headers.get('x-forwarded-for')?.split(',').reverse() ?? []
    for (const hop of hops) {
      const next = hop.trim()
      if (!ipaddr.isValid(next)) return address
      address = plain(next)
      if (!isIn(trusted, address)) return address
    }
    return address
  }
}

function range(text: string): Range {
  if (text.includes('/')) return ipaddr.parseCIDR(text)
  const address = ipaddr.parse(text)
  return [address, address.kind() === 'ipv4' ? 32 : 128]
}

/** An IPv4 address in IPv6 clothes is the IPv4 address. */
const plain = (text: string): string => ipaddr.process(text).toString()

function isIn(ranges: readonly Range[], text: string): boolean {
  const address = ipaddr.parse(text)
  return ranges.some(([net, bits]) => net.kind() === address.kind() && address.match(net, bits))
}
