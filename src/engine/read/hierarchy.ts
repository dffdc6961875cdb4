import type { SpaceChild } from '#core/content/m.space.child.ts'
import { forbidden } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import type { RemoteSpaces } from './remote-spaces.ts'
import type { Reader } from './room.ts'
import { readSpaceRooms, type SpaceRoom, visibleToUser } from './space-rooms.ts'

export type Walk = {
  userId: string
  roomId: string
  maxDepth: number
  suggestedOnly: boolean
  /** Rooms that earlier pages have shown. */
  skip: number
  limit: number
  /** For an administrator: what is here, whether or not the user could see it; nobody is asked. */
  everything?: boolean
}

type Walker = Pick<Reader, 'sql' | 'positions' | 'serverName'> & {
  readonly remoteSpaces: RemoteSpaces
}

/** Rooms that one walk shows at most, over all pages. */
export const maxShown = 1_000
/** Children of one space that other servers are asked about at once. */
const maxAsked = 20
/** Children that are looked at in one go. */
const batch = 100

/**
 * Walks the tree of a space, each room before its children, and shows what the user may see. Rooms
 * that no user of ours is in are asked for at other servers. Every page walks from the start: what
 * changed meanwhile may be shown twice or not at all.
 *
 * Spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
 */
export async function walkSpace(
  walker: Walker,
  walk: Walk,
): Promise<{ rooms: JsonObject[]; more: boolean }> {
  const { roomId, maxDepth, suggestedOnly, skip, limit } = walk
  const start: SpaceChild = {
    roomId,
    via: [domainOf(roomId) ?? ''].filter((name) => name !== '' && name !== walker.serverName),
    suggested: true,
    order: undefined,
    originServerTs: 0,
  }
  const [root] = await reveal(walker, walk, [start])
  if (!root) throw forbidden('There is no such room that you may see')
  const seen = new Set([roomId])
  const open: { room: SpaceRoom; depth: number }[] = [{ room: root, depth: 0 }]
  const shown: JsonObject[] = []
  const wanted = Math.min(skip + limit + 1, maxShown)
  while (open.length > 0 && shown.length < wanted) {
    const { room, depth } = open.pop()!
    const { summary } = room
    const isWanted = ({ suggested }: SpaceChild) => !suggestedOnly || suggested
    shown.push({
      ...summary,
      children_state: room.childrenState.filter((_, index) => isWanted(room.children[index]!)),
    })
    if (depth >= maxDepth || room.children.length === 0) continue
    const fresh = room.children.filter((child) => isWanted(child) && !seen.has(child.roomId))
    const found: SpaceRoom[] = []
    const need = wanted - shown.length
    for (let from = 0; from < fresh.length && found.length < need; from += batch)
      found.push(...(await reveal(walker, walk, fresh.slice(from, from + batch))))
    for (const each of found) seen.add(each.summary.room_id)
    for (const each of found.toReversed()) open.push({ room: each, depth: depth + 1 })
  }
  return { rooms: shown.slice(skip, skip + limit), more: shown.length > skip + limit }
}

/** These children as far as the user may see them, in their order. */
async function reveal(
  walker: Walker,
  { userId, skip, everything = false }: Pick<Walk, 'userId' | 'skip' | 'everything'>,
  children: readonly SpaceChild[],
): Promise<SpaceRoom[]> {
  if (children.length === 0) return []
  const ids = children.map((child) => child.roomId)
  const known = await readSpaceRooms(walker, ids)
  if (everything) return ids.flatMap((id) => known.get(id) ?? [])
  const others = children.filter(({ roomId }) => !known.has(roomId))
  const { remoteSpaces, serverName } = walker
  for (let from = 0; from < others.length; from += maxAsked) {
    const asked = others.slice(from, from + maxAsked).map(async ({ roomId, via }) => {
      const servers = via.filter((name) => name !== serverName)
      const found = await remoteSpaces.find(roomId, servers, { later: skip > 0 })
      if (found) known.set(roomId, found.room)
    })
    await Promise.all(asked)
  }
  const rooms = ids.flatMap((id) => known.get(id) ?? [])
  const visible = await visibleToUser(walker, rooms, userId)
  return rooms.filter(({ summary }) => visible.has(summary.room_id))
}
