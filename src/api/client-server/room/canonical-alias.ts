import { landed } from '#api/client-server/room/landed.ts'
import { maySendState } from '#api/client-server/room/power.ts'
import { accessOf } from '#api/client-server/room/reading.ts'
import { altAliasesOf, canonicalAliasOf } from '#core/content/m.room.canonical_alias.ts'
import { MatrixError } from '#core/error.ts'
import { type JsonObject, without } from '#core/json.ts'
import { readKey } from '#engine/read/state-at.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { Context } from '#src/context.ts'

const type = 'm.room.canonical_alias'

/**
 * Takes a deleted alias out of the room's `m.room.canonical_alias` too, if its deleter may: that it
 * is deleted does not depend on it.
 *
 * Spec: client-server-api/#delete_matrixclientv3directoryroomroomalias
 */
export async function takeBackAlias(
  ctx: Context,
  who: Session,
  roomId: string,
  alias: string,
): Promise<void> {
  const access = await accessOf(ctx, who, roomId)
  if (access?.standing?.membership !== 'join') return
  const { rooms } = await ctx.positions.settled()
  const event = await readKey(ctx.sql, access, rooms[access.room.shard]!, type, '')
  const left = event && withoutAlias(event.event.content, alias)
  if (!left || !(await maySendState(ctx, access, who.userId, type))) return
  const send = { sender: who.userId, type, stateKey: '', content: JSON.stringify(left) }
  try {
    landed(ctx, await ctx.rooms.call('send', roomId, send))
  } catch (error) {
    if (!(error instanceof MatrixError)) throw error
    ctx.log.info({ err: error, room: roomId }, 'a deleted alias stays named in its room')
  }
}

/** The content without an alias; undefined if it does not name it. */
function withoutAlias(content: JsonObject, alias: string): JsonObject | undefined {
  const isMain = canonicalAliasOf(content) === alias
  const others = altAliasesOf(content)
  const left = others.filter((each) => each !== alias)
  if (!isMain && left.length === others.length) return undefined
  const kept = isMain ? without(content, 'alias') : content
  return left.length === 0 ? without(kept, 'alt_aliases') : { ...kept, alt_aliases: left }
}
