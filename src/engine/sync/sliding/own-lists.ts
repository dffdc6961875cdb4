import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as roomLists from '#store/user/read-room-lists.ts'

/** What a user says of their rooms, by room ID. */
export type Own = {
  /** Up to here, in the user's shard. */
  readonly at: number
  readonly direct: ReadonlySet<string>
  readonly tags: ReadonlyMap<string, ReadonlySet<string>>
}

const nothing: Own = { at: 0, direct: new Set(), tags: new Map() }

/** Which rooms of users are direct, and how they are tagged: kept, and only what is new is read. */
export class OwnLists {
  readonly #users = new LRUCache<string, Own>(atMost(20_000))

  async read(sql: Sql, userId: string, { users }: Vector): Promise<Own> {
    const shard = shardOf(userId)
    const known = this.#users.get(userId) ?? nothing
    const high = users[shard]!
    if (known.at >= high) return known
    const rows = await roomLists.changed(sql, shard, userId, known.at, high)
    let { direct } = known
    const tags = rows.length === 0 ? known.tags : new Map(known.tags)
    for (const { room_id: roomId, type, content } of rows) {
      const json = JSON.parse(content) as JsonObject
      if (type === 'm.direct') direct = roomsIn(json)
      else (tags as Map<string, ReadonlySet<string>>).set(roomId, tagsIn(json))
    }
    const own = { at: high, direct, tags }
    this.#users.set(userId, own)
    return own
  }
}

/** Spec: client-server-api/#mdirect */
const roomsIn = (content: JsonObject): Set<string> =>
  new Set(
    Object.values(content)
      .flatMap((rooms) => (Array.isArray(rooms) ? rooms : []))
      .filter((room) => typeof room === 'string'),
  )

/** Spec: client-server-api/#room-tagging */
const tagsIn = ({ tags }: JsonObject): Set<string> =>
  new Set(isObject(tags ?? null) ? Object.keys(tags as JsonObject) : [])
