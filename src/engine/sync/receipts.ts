import { type JsonObject, setKey } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Place } from '#engine/read/places.ts'
import type { Positions, View } from '#engine/read/positions.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as receipts from '#store/user/receipts.ts'
import type { Plan, SyncRequest } from './plan.ts'

type ReceiptView = Pick<View, 'vector' | 'places' | 'news'> & {
  /** Those of the places in which there may be something new; left out: all. */
  readonly candidates?: readonly Place[]
}

/** Receipts of one room that a client hears when it first hears of the room. */
const maxReceipts = 500

/** `m.receipt`, by room number. */
export type ReceiptSection = ReadonlyMap<number, JsonObject>

/**
 * The receipts that are new between two vectors, in two statements at most: of rooms that are told
 * whole those of all members, of the others those that moved.
 *
 * Spec: client-server-api/#events-5
 */
export async function readReceipts(
  sql: Sql,
  positions: Positions,
  request: SyncRequest,
  { vector, places, news, candidates = places }: ReceiptView,
  plan: Plan,
  ignored: ReadonlySet<string>,
): Promise<ReceiptSection> {
  const { userId, since, filter } = request
  const { ephemeral } = filter
  if (!ephemeral.types.accepts('m.receipt')) return new Map()
  const isWanted = ({ roomId }: Place) =>
    filter.rooms.accepts(roomId) && ephemeral.rooms.accepts(roomId)
  const joined = plan.rooms.filter(
    ({ kind, full, room }) => kind === 'join' && full && isWanted(room),
  )
  const whole = joined.map(({ room }) => room)
  const told = new Set(whole.map(({ roomNid }) => roomNid))
  const changed: string[] = []
  for (const place of candidates) {
    if (!since || place.membership !== 'join' || told.has(place.roomNid) || !isWanted(place))
      continue
    if (positions.receiptsChanged(place.roomNid, since)) changed.push(place.roomId)
  }
  const shard = shardOf(userId)
  const own = { shard, from: since?.users[shard] ?? 0, to: vector.users[shard]! }
  const [all, moved] = await Promise.all([
    whole.length ? receipts.newest(sql, userId, whole, vector.users, maxReceipts) : [],
    since && (changed.length > 0 || !news.isSame('receipts', own.from))
      ? receipts.between(sql, userId, changed, stretchesOf(since, vector), own)
      : [],
  ])
  const shown = [...all, ...moved].filter(
    (row) => ephemeral.senders.accepts(row.user_id) && !ignored.has(row.user_id),
  )
  const section = new Map<number, JsonObject>()
  if (shown.length === 0) return section
  const nids = new Map(whole.map(({ roomId, roomNid }) => [roomId, roomNid]))
  const name = (some: readonly Place[]) => {
    for (const place of some)
      if (since && place.membership === 'join' && isWanted(place))
        nids.set(place.roomId, place.roomNid)
  }
  name(candidates)
  // What a user read in private may be in any of their rooms.
  if (shown.some(({ room_id: roomId }) => !nids.has(roomId))) name(places)
  for (const [roomId, content] of contentsOfReceipts(shown)) {
    const roomNid = nids.get(roomId)
    if (roomNid !== undefined) section.set(roomNid, { type: 'm.receipt', content })
  }
  return section
}

function stretchesOf({ users: from }: Vector, { users: to }: Vector) {
  return Array.from(to, (high, shard) => ({ shard, from: from[shard]!, to: high })).filter(
    (stretch) => stretch.to > stretch.from,
  )
}

/** What receipts say, by room ID, as clients get it. */
export function contentsOfReceipts(rows: readonly receipts.ReceiptRow[]): Map<string, JsonObject> {
  const rooms = new Map<string, JsonObject>()
  const inner = (object: JsonObject, key: string): JsonObject => {
    if (!Object.hasOwn(object, key)) setKey(object, key, {})
    return object[key] as JsonObject
  }
  for (const { room_id, user_id, type, thread_id, event_id, ts } of rows) {
    const content = rooms.get(room_id) ?? {}
    rooms.set(room_id, content)
    const users = inner(inner(content, event_id), type)
    // Of several receipts of a user on one event, clients can be told one only: the unthreaded.
    if (Object.hasOwn(users, user_id) && thread_id !== '') continue
    users[user_id] = { ts, ...(thread_id !== '' && { thread_id }) }
  }
  return rooms
}
