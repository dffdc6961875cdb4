import { access, constants } from 'node:fs/promises'
import ipaddr from 'ipaddr.js'
import { isServerName } from '#core/ids.ts'
import type { Config } from '#src/config.ts'

/** What a schema cannot say: answers a sentence for each fault, after the option's name. */
export async function checkMeaning(config: Config): Promise<string[]> {
  const faults = [
    ...checkNames(config),
    ...checkListeners(config),
    ...checkRanges(config),
    ...checkDates(config),
    ...checkRelations(config),
  ]
  const files = filesOf(config)
  const readable = await Promise.all(files.map(([, path]) => isReadable(path)))
  for (const [index, [option, path]] of files.entries())
    if (!readable[index]) faults.push(`${option}: the file ${path} cannot be read`)
  return faults
}

function* checkNames({ server_name, public_base_url, database, federation }: Config) {
  if (!isServerName(server_name))
    yield `server_name: ${server_name} is not a server name (host or host:port)`
  if (public_base_url !== undefined && !isUrl(public_base_url, ['http:', 'https:']))
    yield `public_base_url: ${public_base_url} is not an http:// or https:// address`
  if (database.url !== undefined && !isUrl(database.url, ['postgres:', 'postgresql:']))
    yield 'database.url: not a postgres:// address'
  if (federation.delegate_to !== undefined && !isServerName(federation.delegate_to))
    yield `federation.delegate_to: ${federation.delegate_to} is not host or host:port`
  for (const notary of federation.notaries)
    if (!isServerName(notary)) yield `federation.notaries: ${notary} is not a server name`
  for (const [name, target] of Object.entries(federation.static_destinations)) {
    if (!isServerName(name)) yield `federation.static_destinations: ${name} is not a server name`
    if (!isServerName(target))
      yield `federation.static_destinations.${name}: ${target} is not host:port`
  }
}

function* checkListeners({ listeners, metrics }: Config) {
  const seen = new Set<string>()
  for (const [index, { address, port, serves }] of listeners.entries()) {
    if (!ipaddr.isValid(address))
      yield `listeners.${index}.address: ${address} is not an IP address`
    else if (serves.includes('metrics') && metrics.token === undefined) {
      if (serves.length > 1 || ipaddr.process(address).range() !== 'loopback')
        yield `listeners.${index}.serves: metrics needs metrics.token, unless the address is a loopback one and nothing else is served there`
    }
    const place = `${address}:${port}`
    if (port !== 0 && seen.has(place)) yield `listeners.${index}: a second one on ${place}`
    seen.add(place)
  }
}

function* checkRanges({ listeners, federation, url_previews }: Config) {
  const lists: (readonly [string, readonly string[]])[] = [
    ['federation.blocked_ip_ranges', federation.blocked_ip_ranges],
    ['federation.allowed_ip_ranges', federation.allowed_ip_ranges],
    ['url_previews.blocked_ip_ranges', url_previews.blocked_ip_ranges],
    ['url_previews.allowed_ip_ranges', url_previews.allowed_ip_ranges],
    ...listeners.map(
      ({ trusted_proxies }, index) =>
        [`listeners.${index}.trusted_proxies`, trusted_proxies] as const,
    ),
  ]
  for (const [option, ranges] of lists)
    for (const range of ranges)
      if (!ipaddr.isValid(range) && !ipaddr.isValidCIDR(range))
        yield `${option}: ${range} is not an IP address or range`
}

function* checkDates({ media }: Config) {
  if (Number.isNaN(Date.parse(media.open_before)))
    yield `media.open_before: ${media.open_before} is no date`
}

function* checkRelations(config: Config) {
  const { registration, federation, email, public_base_url } = config
  if (registration.dummy && !registration.enabled)
    yield 'registration.dummy: has no meaning unless registration.enabled is true'
  if (registration.email && email.host === undefined)
    yield 'registration.email: needs an SMTP server, email.host'
  if (email.host !== undefined && email.from === undefined)
    yield 'email.from: is missing, since email.host is given'
  if (email.host !== undefined && public_base_url === undefined)
    yield 'email.host: needs public_base_url, which the links in e-mails lead to'
  for (const [index, { url }] of registration.policies.entries())
    if (!isUrl(url, ['http:', 'https:']))
      yield `registration.policies.${index}.url: ${url} is not an http:// or https:// address`
  if (federation.retry_min_seconds > federation.retry_max_seconds)
    yield 'federation.retry_min_seconds: is more than retry_max_seconds'
}

function filesOf({
  listeners,
  federation,
  appservices,
  email,
}: Config): [option: string, path: string][] {
  const many = (option: string, paths: readonly string[]) =>
    paths.map((path): [string, string] => [option, path])
  return [
    ...listeners.flatMap(({ tls }, index): [string, string][] =>
      tls
        ? [
            [`listeners.${index}.tls.certificate`, tls.certificate],
            [`listeners.${index}.tls.key`, tls.key],
          ]
        : [],
    ),
    ...many('federation.extra_ca', federation.extra_ca),
    ...many('email.extra_ca', email.extra_ca),
    ...many('appservices.files', appservices.files),
  ]
}

function isUrl(text: string, protocols: readonly string[]): boolean {
  return URL.canParse(text) && protocols.includes(new URL(text).protocol)
}

const isReadable = (path: string): Promise<boolean> =>
  access(path, constants.R_OK).then(
    () => true,
    () => false,
  )
