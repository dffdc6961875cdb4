import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { FederationOptions } from '#engine/federation/options.ts'
import type { Config } from '#src/config.ts'
import { StartupError } from '#store/startup-error.ts'

/** What of the requests that the runtime allows at once is left to others than the federation worker. */
const leftToOthers = 16

/**
 * What the configuration says of federation, with files read, as it crosses to its thread. Beyond
 * `maxRequests` the runtime itself makes requests wait, and there the dead can hold up the living.
 */
export async function federationOptions(
  config: Config,
  maxRequests: number,
): Promise<FederationOptions> {
  const { federation } = config
  return {
    serverName: config.server_name,
    staticDestinations: federation.static_destinations,
    extraAuthorities: await readAuthorities(config),
    blockedRanges: federation.blocked_ip_ranges,
    allowedRanges: federation.allowed_ip_ranges,
    notaries: federation.notaries,
    gateways: { blocked: config.push.blocked_ip_ranges, allowed: config.push.allowed_ip_ranges },
    requestTimeoutMs: federation.request_timeout_seconds * 1000,
    retryMinMs: federation.retry_min_seconds * 1000,
    retryMaxMs: federation.retry_max_seconds * 1000,
    maxInFlight: Math.max(8, maxRequests - leftToOthers),
  }
}

/** The authorities that are trusted beside the usual ones, as PEM texts. */
export const readAuthorities = ({ federation }: Config): Promise<string[]> =>
  Promise.all(federation.extra_ca.map(readAuthority))

/** Told at the start: every request to another server would fail for it. */
async function readAuthority(file: string): Promise<string> {
  const pem = await readFile(file, 'utf8')
  try {
    new X509Certificate(pem)
    return pem
  } catch (error) {
    throw new StartupError(`${file} of federation.extra_ca is not a certificate in PEM`, {
      cause: error,
    })
  }
}
