import { claimFault } from '#core/appservice.ts'
import { MatrixError, RemoteError, exclusive, invalidParam, notFound } from '#core/error.ts'
import { newAliases } from '#core/content/m.room.canonical_alias.ts'
import { domainOf, isRoomAlias, isServerName } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { queryDirectory } from '#engine/federation/remote-queries.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { findRoom } from '#engine/read/room.ts'
import { readKey } from '#engine/read/state-at.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as roomAliases from '#store/user/room-aliases.ts'
import type { Context } from '#src/context.ts'

export type Resolved = { roomId: string; servers: string[] }

/** The room that an alias stands for, here or on its own server; undefined if there is none. */
export async function findAlias(ctx: Context, alias: string): Promise<Resolved | undefined> {
  const server = domainOf(alias)
  if (!isRoomAlias(alias) || server === undefined || !isServerName(server))
    throw invalidParam(`${alias} is not a room alias`)
  if (server !== ctx.serverName) {
    const found = await queryDirectory(ctx.federation, server, alias)
    return found && { ...found, servers: [...new Set([...found.servers, server])] }
  }
  const row = await orMade(
    () => roomAliases.get(ctx.sql, alias),
    () => ctx.bridges.questions.makesRoom(alias),
  )
  return row && { roomId: row.room_id, servers: [ctx.serverName] }
}

export async function requireAlias(ctx: Context, alias: string): Promise<Resolved> {
  const found = await findAlias(ctx, alias)
  if (!found) throw notFound(`The room alias ${alias} does not exist`)
  return found
}

/** Refuses who may not make or remove an alias, because of the namespaces of application services. */
export function requireClaim(ctx: Context, who: Session, alias: string): void {
  const fault = claimFault(ctx.appservices, who.appservice, 'aliases', alias)
  if (fault !== undefined) throw exclusive(fault)
}

/** Aliases of one event that are looked up; each may ask another server. */
const maxNewAliases = 50

/**
 * Refuses an `m.room.canonical_alias` that names an alias of another room, or none: those that the
 * event before named already are not looked at again.
 *
 * Spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
 */
export async function checkCanonicalAlias(
  ctx: Context,
  roomId: string,
  content: JsonObject,
): Promise<void> {
  const room = await findRoom(ctx.sql, roomId)
  // Whether there is such a room is for it to say.
  if (!room) return
  const { rooms } = await ctx.positions.settled()
  const before = await readKey(ctx.sql, { room }, rooms[room.shard]!, 'm.room.canonical_alias', '')
  const added = newAliases(content, before?.event.content)
  if (!added) throw invalidParam('The content is not that of an m.room.canonical_alias')
  if (added.length > maxNewAliases) throw invalidParam(`More than ${maxNewAliases} new aliases`)
  await Promise.all(
    added.map(async (alias) => {
      const found = await findAlias(ctx, alias).catch((error: unknown) => {
        if (error instanceof RemoteError) return undefined
        throw error
      })
      if (found?.roomId !== roomId)
        throw new MatrixError(400, 'M_BAD_ALIAS', `${alias} does not point to this room`)
    }),
  )
}
