import { parseServerName } from '#core/ids.ts'
import type { Target } from './discovery.ts'

/** Where to dial for an address that a user names, and what to ask for there; undefined if it is none of the web. */
export function parseWebAddress(address: string): { target: Target; uri: string } | undefined {
  const url = URL.parse(address)
  const to = url && parseServerName(url.host)
  if (!url || !to || !/^https?:$/.test(url.protocol)) return undefined
  if (url.username !== '' || url.password !== '') return undefined
  const plain = url.protocol === 'http:'
  const host = to.host.replace(/^\[|\]$/g, '')
  return {
    target: {
      host,
      port: to.port ?? (plain ? 80 : 443),
      hostHeader: url.host,
      certificateName: host,
      trusted: false,
      plain,
    },
    uri: url.pathname + url.search,
  }
}
