import { MatrixError } from '#core/error.ts'
import { isObject, type JsonObject, setKey } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'
import type { CallsOf, Results, UserLanded, Writers } from './writer.ts'

/** Tags of rooms: they are kept as the account data `m.tag` of the room. */
export type TagCalls = {
  /** Sets a tag of a room, its data as JSON text, or takes it away. */
  changeTag: (userId: string, roomId: string, tag: string, data: string | null) => UserLanded
}

export const tagWriters: Writers<TagCalls> = {
  changeTag: { write: changeTags, many: true },
}

const type = 'm.tag'
/** Not spec: tags of one room. */
const maxTags = 200

async function changeTags(
  sql: Sql,
  calls: CallsOf<TagCalls['changeTag']>,
): Promise<Results<TagCalls['changeTag']>> {
  const stored = await accountData.listInRooms(
    sql,
    calls.map(({ shard, userId, args: [roomId] }) => ({ shard, userId, roomId, type })),
  )
  const keyOf = (userId: string, roomId: string) => JSON.stringify([userId, roomId])
  const tagsOf = new Map<string, JsonObject>()
  for (const row of stored) tagsOf.set(keyOf(row.user_id, row.room_id), readTags(row.content))
  const faults: Results<TagCalls['changeTag']> = new Map()
  const rows = new Map<string, accountData.Entry>()
  for (const [index, { shard, userId, position, args }] of calls.entries()) {
    const [roomId, tag, data] = args
    const key = keyOf(userId, roomId)
    const tags = { ...tagsOf.get(key) }
    if (data === null) delete tags[tag]
    else if (Object.keys(tags).length >= maxTags && !Object.hasOwn(tags, tag)) {
      const message = `A room has at most ${maxTags} tags`
      faults.set(index, new MatrixError(413, 'M_TOO_LARGE', message))
      continue
    } else setKey(tags, tag, JSON.parse(data) as JsonObject)
    tagsOf.set(key, tags)
    rows.set(key, { shard, userId, roomId, type, content: JSON.stringify({ tags }), position })
  }
  await accountData.put(sql, [...rows.values()])
  return faults
}

/** Clients may have set anything. */
function readTags(content: string): JsonObject {
  const { tags } = JSON.parse(content) as JsonObject
  return isObject(tags) ? tags : {}
}
