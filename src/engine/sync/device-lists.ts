import type { Place } from '#engine/read/places.ts'
import type { News } from '#engine/read/news.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as lists from '#store/user/read-device-lists.ts'

export type DeviceListNews = {
  readonly changed: readonly string[]
  readonly left: readonly string[]
}

const nothing: DeviceListNews = { changed: [], left: [] }

/**
 * Whose device lists a user must ask for again, and whose they need not keep any more. Not spec: it
 * counts any room that is shared, encrypted or not, as other servers do: so a room that becomes
 * encrypted needs no news of its own.
 *
 * Spec: client-server-api/#tracking-the-device-list-for-a-user
 */
export async function readDeviceLists(
  sql: Sql,
  positions: Pick<Positions, 'membersChanged'>,
  userId: string,
  places: readonly Place[],
  since: Vector | undefined,
  vector: Vector,
  news?: News,
): Promise<DeviceListNews> {
  if (!since) return nothing
  const rooms = places.flatMap(({ shard, roomNid, membership, position }) => {
    const low = since.rooms[shard]!
    const joined = membership === 'join'
    const moved = position > low && membership !== 'invite' && membership !== 'knock'
    if (!moved && !(joined && positions.membersChanged(shard, roomNid, low) !== false)) return []
    return [{ shard, roomNid, low, high: joined ? vector.rooms[shard]! : position }]
  })
  const mayHaveLists = news === undefined || news.hasListsAfter(since)
  const stretches = [...(mayHaveLists ? vector.users : [])].flatMap((to, shard) => {
    const from = since.users[shard]!
    return to > from ? [{ shard, from, to }] : []
  })
  if (rooms.length === 0 && stretches.length === 0) return nothing
  const rows = await lists.news(sql, userId, stretches, rooms)
  return {
    changed: rows.filter((row) => row.is_new && row.is_shared).map((row) => row.user_id),
    left: rows.filter((row) => row.is_gone && !row.is_shared).map((row) => row.user_id),
  }
}
