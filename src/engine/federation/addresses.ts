import { connect } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Refuses addresses in these ranges (CIDR), unless an allowed range holds them. */
export type AddressRules = { blocked: readonly string[]; allowed: readonly string[] }

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number]

/**
 * Which addresses may be dialled. It is asked about the very address that is then dialled, so a name
 * that answers differently the second time gains nothing.
 */
export class AddressPolicy {
  readonly #blocked: readonly Range[]
  readonly #allowed: readonly Range[]

  constructor({ blocked, allowed }: AddressRules) {
    this.#blocked = blocked.map(parseRange)
    this.#allowed = allowed.map(parseRange)
  }

  permits(address: string): boolean {
    if (!ipaddr.isValid(address)) return false
    // `process` turns an IPv4 address in IPv6 clothes into itself.
    const ip = ipaddr.process(address)
    return inAny(ip, this.#allowed) || !inAny(ip, this.#blocked)
  }
}

function parseRange(range: string): Range {
  if (range.includes('/')) return ipaddr.parseCIDR(range)
  const ip = ipaddr.parse(range)
  return [ip, ip.kind() === 'ipv4' ? 32 : 128]
}

const inAny = (ip: ipaddr.IPv4 | ipaddr.IPv6, ranges: readonly Range[]): boolean =>
  ranges.some((range) => ip.kind() === range[0].kind() && ip.match(range as never))

/** How long the next address waits for the one before it (RFC 8305 says 250 ms). */
const staggerMs = 250

/**
 * The first of several addresses that takes a connection; undefined if none does. One address is not
 * tried: the request itself will.
 */
export async function firstReachable(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (addresses.length < 2) return addresses[0]
  const ended = new AbortController()
  const either = AbortSignal.any([signal, ended.signal])
  const attempts: Promise<string>[] = []
  for (const address of addresses) {
    const before = attempts.at(-1)
    // The next one begins when the one before it fails, or is slow.
    const turn = before ? failureOrPause(before, either) : Promise.resolve()
    attempts.push(turn.then(() => tryConnect(address, port, either)).then(() => address))
  }
  try {
    return await Promise.any(attempts)
  } catch {
    signal.throwIfAborted()
    return undefined
  } finally {
    ended.abort()
  }
}

function failureOrPause(before: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, staggerMs)
  signal.addEventListener('abort', () => resolve(), { once: true })
  before.catch(() => resolve())
  return promise.finally(() => clearTimeout(timer))
}

function tryConnect(host: string, port: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  if (signal.aborted) return Promise.reject(new Error('Another address was reached'))
  const socket = connect({ host, port })
  signal.addEventListener('abort', () => socket.destroy(), { once: true })
  socket.once('connect', () => {
    resolve()
    socket.destroy()
  })
  socket.once('error', reject)
  socket.once('close', () => reject(new Error('The connection was closed')))
  return promise
}
