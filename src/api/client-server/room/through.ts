import { requireAlias } from '#api/client-server/room/aliases.ts'
import { invalidParam } from '#core/error.ts'
import { domainOf, isRoomAlias, isRoomId, isServerName } from '#core/ids.ts'
import type { Context } from '#src/context.ts'

/** Servers that a room may be asked for at. */
const maxVia = 20

/** `server_name` is what `via` was called before v1.12. */
type Named = { via?: string[]; server_name?: string[] }

/** The room that a path names by ID or alias, and the servers that may know it. */
export async function requireNamed(
  ctx: Context,
  name: string,
  query: Named,
): Promise<{ roomId: string; via: string[] }> {
  const via = [...(query.via ?? []), ...(query.server_name ?? [])].filter(isServerName)
  if (isRoomAlias(name)) {
    const { roomId, servers } = await requireAlias(ctx, name)
    return { roomId, via: [...servers, ...via] }
  }
  if (!isRoomId(name)) throw invalidParam(`${name} is neither a room ID nor a room alias`)
  return { roomId: name, via }
}

/**
 * The other servers among these. A room's own domain (v1–v11) says nothing about who is in it, so it
 * is tried only for want of any other.
 */
export function throughOthers(
  { serverName }: Pick<Context, 'serverName'>,
  roomId: string,
  servers: readonly (string | undefined)[],
): string[] {
  const othersOf = (names: readonly (string | undefined)[]) =>
    [...new Set(names)].filter(
      (name): name is string => name !== undefined && isServerName(name) && name !== serverName,
    )
  const named = othersOf(servers)
  return (named.length > 0 ? named : othersOf([domainOf(roomId)])).slice(0, maxVia)
}
