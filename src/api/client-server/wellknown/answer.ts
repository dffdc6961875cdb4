import type { Context } from '#src/context.ts'

/** Where clients find this server, if the operator says so. */
export function wellKnown({
  config,
}: Context): { 'm.homeserver': { base_url: string } } | undefined {
  const url = config.public_base_url
  return url === undefined ? undefined : { 'm.homeserver': { base_url: url } }
}
