import { LRUCache } from 'lru-cache'
import type { Sql } from '#store/db.ts'
import * as follow from '#store/push/follow.ts'

type Room = { shard: number; room_nid: number }

/** Who of those with pushers is joined to a room, as of a position of the batch that was read. */
export type MembersAt = (roomNid: number, position: number) => ReadonlySet<string>

const nobody: ReadonlySet<string> = new Set()
const maxMembers = 500_000
/** A pusher that another process took in is heard of within this time. */
const keepMs = 3_600_000

/**
 * Who of the users with pushers is joined to which room. Kept until a member of it with a pusher moves,
 * or somebody sets up a pusher: in a quiet state a batch reads nothing but that nobody moved.
 */
export class RoomMembers {
  readonly #kept = new LRUCache<number, ReadonlySet<string>>({
    maxSize: maxMembers,
    sizeCalculation: (members) => 1 + members.size,
    ttl: keepMs,
  })

  /** Somebody in this room has a new pusher. */
  forget(roomNid: number): void {
    this.#kept.delete(roomNid)
  }

  /**
   * The members of the rooms of a batch, at any of its positions. What is kept was true at some time at
   * or after the beginning of the batch; every move since then is read, and undone for the positions
   * before it.
   */
  async of(sql: Sql, rooms: readonly Room[], lowOf: (shard: number) => number): Promise<MembersAt> {
    if (rooms.length === 0) return () => nobody
    const lists = new Map<number, ReadonlySet<string>>()
    const missing = rooms.filter(({ room_nid: nid }) => {
      const kept = this.#kept.get(nid)
      if (kept) lists.set(nid, kept)
      return !kept
    })
    const read = new Map(missing.map(({ room_nid: nid }) => [nid, new Set<string>()]))
    if (missing.length > 0)
      for (const row of await follow.members(sql, missing)) read.get(row.room_nid)!.add(row.user_id)
    // After the lists: a move that they do not show is among these.
    const moves = Map.groupBy(
      await follow.memberMoves(
        sql,
        rooms.map((room) => ({ ...room, low: lowOf(room.shard) })),
      ),
      (move) => move.room_nid,
    )
    for (const [nid, members] of read) {
      lists.set(nid, members)
      this.#kept.set(nid, members)
    }
    for (const nid of moves.keys()) this.#kept.delete(nid)
    return (nid, position) => membersAt(lists.get(nid) ?? nobody, moves.get(nid), position)
  }
}

function membersAt(
  list: ReadonlySet<string>,
  moves: readonly follow.MemberMove[] | undefined,
  position: number,
): ReadonlySet<string> {
  if (!moves) return list
  const members = new Set(list)
  const settled = new Set<string>()
  // Oldest first. The first move after the position says what was before it; the last one up to it, what is since.
  for (const { position: at, user_id: userId, ...move } of moves) {
    if (userId === null || settled.has(userId)) continue
    const membership = at > position ? move.old_membership : move.new_membership
    if (membership === 'join') members.add(userId)
    else members.delete(userId)
    if (at > position) settled.add(userId)
  }
  return members
}
