import { invalidParam } from '#core/error.ts'
import { canonicalAliasOf } from '#core/content/m.room.canonical_alias.ts'
import { roomAvatarOf } from '#core/content/m.room.avatar.ts'
import { roomTypeOf } from '#core/content/m.room.create.ts'
import { guestsMayJoin } from '#core/content/m.room.guest_access.ts'
import { historyVisibilityOf } from '#core/content/m.room.history_visibility.ts'
import { joinRuleOf } from '#core/content/m.room.join_rules.ts'
import { roomNameOf } from '#core/content/m.room.name.ts'
import { topicOf } from '#core/content/m.room.topic.ts'
import type { JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import * as readState from '#store/room/read-state.ts'
import * as directory from '#store/user/read-directory.ts'
import { loadEvents } from './events.ts'
import type { Reader } from './room.ts'
import { type RoomRef, toRef } from './room-ref.ts'

export type DirectoryQuery = {
  limit?: number | undefined
  since?: string | undefined
  /** Rooms whose name, topic or main alias hold it, in any case. */
  term?: string | undefined
  /** Whose rooms; this server's own, unless told. */
  directory?: directory.Directory
  /** Rooms of these types; null: of none. */
  roomTypes?: readonly (string | null)[] | undefined
}

/** A room as the directory shows it, in the form of the client-server API. */
export type DirectoryEntry = {
  room_id: string
  num_joined_members: number
  world_readable: boolean
  guest_can_join: boolean
  join_rule: string
  name?: string
  topic?: string
  canonical_alias?: string
  avatar_url?: string
  room_type?: string
}

export type DirectoryAnswer = {
  chunk: DirectoryEntry[]
  next_batch?: string
  prev_batch?: string
  total_room_count_estimate?: number
}

const defaultLimit = 100
const maxLimit = 500
/** Rooms that are looked at in one go when only some are wanted. */
const searchBatch = 200

/**
 * One page of the rooms that this server publishes, the largest first.
 *
 * Spec: client-server-api/#published-room-directory
 */
export async function readDirectory(
  reader: Reader,
  query: DirectoryQuery,
): Promise<DirectoryAnswer> {
  const { limit = defaultLimit, since, term, roomTypes } = query
  if (limit < 0) throw invalidParam("'limit' is negative")
  const wanted = Math.min(limit, maxLimit)
  const { place, back } = since === undefined ? { place: undefined, back: false } : decode(since)
  const isSearch = (term !== undefined && term !== '') || roomTypes !== undefined
  const [found, total] = await Promise.all([
    collect(reader, query, { place, back }, wanted + 1),
    isSearch ? undefined : directory.count(reader.sql, query.directory),
  ])

  const more = found.length > wanted
  const chunk = found.slice(0, wanted)
  if (back) chunk.reverse()
  const answer: DirectoryAnswer = { chunk }
  const [first, last] = [chunk[0], chunk.at(-1)]
  // Whoever came from somewhere can go back there.
  if (last && (back || more)) answer.next_batch = encode(last, false)
  if (first && (back ? more : since !== undefined)) answer.prev_batch = encode(first, true)
  if (total !== undefined) answer.total_room_count_estimate = total
  return answer
}

/** At most `wanted` rooms that fit, in the order in which they are met. */
async function collect(
  reader: Reader,
  { term, roomTypes, directory: of }: DirectoryQuery,
  start: { place: directory.DirectoryPlace | undefined; back: boolean },
  wanted: number,
): Promise<DirectoryEntry[]> {
  const needle = term?.toLowerCase() ?? ''
  const types = roomTypes && new Set(roomTypes)
  const fits = (entry: DirectoryEntry) =>
    (!types || types.has(entry.room_type ?? null)) && (needle === '' || mentions(entry, needle))
  const size = needle === '' && !types ? wanted : searchBatch
  const found: DirectoryEntry[] = []
  let { place } = start
  while (found.length < wanted) {
    const rows = await directory.page(reader.sql, of, place, start.back, size)
    const entries = (await describeRooms(reader, rows)).map(({ entry }) => entry)
    found.push(...entries.filter(fits))
    const last = rows.at(-1)
    if (!last || rows.length < size) break
    place = { members: last.members, roomId: last.room_id }
  }
  return found.slice(0, wanted)
}

const mentions = ({ name, topic, canonical_alias: alias }: DirectoryEntry, needle: string) =>
  [name, topic, alias].some((text) => text?.toLowerCase().includes(needle))

const describedBy = [
  'm.room.create',
  'm.room.name',
  'm.room.topic',
  'm.room.avatar',
  'm.room.canonical_alias',
  'm.room.join_rules',
  'm.room.history_visibility',
  'm.room.guest_access',
  'm.room.encryption',
]

/** A room, what it shows of itself, and the contents that this comes from. */
export type Described = {
  readonly room: RoomRef
  readonly entry: DirectoryEntry
  readonly state: ReadonlyMap<string, JsonObject>
}

/** Rooms with what their state says of them, in three statements however many they are. */
export async function describeRooms(
  { sql, positions }: Pick<Reader, 'sql' | 'positions'>,
  rows: readonly directory.DirectoryRow[],
): Promise<Described[]> {
  if (rows.length === 0) return []
  const { rooms: now } = await positions.settled()
  const rooms = new Map(
    rows.flatMap((row) => {
      const room = toRef(row)
      return room ? [[room.roomNid, room] as const] : []
    }),
  )
  const keys = await readState.keysAt(
    sql,
    [...rooms.values()].flatMap(({ shard, roomNid }) =>
      describedBy.map((type) => ({ shard, roomNid, at: now[shard]!, type, stateKey: '' })),
    ),
  )
  const events = await loadEvents(
    sql,
    rooms,
    keys.map((key) => ({ shard: shardOfNid(key.event_nid), nid: key.event_nid })),
  )
  const contents = new Map<RoomRef, Map<string, JsonObject>>()
  for (const { room, event } of events.values()) {
    const ofRoom = contents.get(room) ?? new Map<string, JsonObject>()
    contents.set(room, ofRoom.set(event.type, event.content))
  }
  return rows.flatMap((row) => {
    const room = rooms.get(row.room_nid)
    if (!room) return []
    const state = contents.get(room) ?? new Map<string, JsonObject>()
    return [{ room, entry: entryOf(row, state), state }]
  })
}

function entryOf(
  row: directory.DirectoryRow,
  state: ReadonlyMap<string, JsonObject>,
): DirectoryEntry {
  const name = roomNameOf(state.get('m.room.name'))
  const topic = topicOf(state.get('m.room.topic'))
  const alias = canonicalAliasOf(state.get('m.room.canonical_alias'))
  const avatar = roomAvatarOf(state.get('m.room.avatar'))
  const type = roomTypeOf(state.get('m.room.create') ?? {})
  return {
    room_id: row.room_id,
    num_joined_members: row.members,
    world_readable:
      historyVisibilityOf(state.get('m.room.history_visibility')) === 'world_readable',
    guest_can_join: guestsMayJoin(state.get('m.room.guest_access')),
    join_rule: joinRuleOf(state.get('m.room.join_rules')),
    ...(name !== undefined && { name }),
    ...(topic !== undefined && { topic }),
    ...(alias !== undefined && { canonical_alias: alias }),
    ...(avatar?.startsWith('mxc://') && { avatar_url: avatar }),
    ...(type !== undefined && { room_type: type }),
  }
}

/** A token names the room that it stands beside, and the way it leads: it survives what changes. */
const encode = (entry: DirectoryEntry, back: boolean): string =>
  Buffer.from(JSON.stringify([back ? 'b' : 'f', entry.num_joined_members, entry.room_id])).toString(
    'base64url',
  )

function decode(token: string): { place: directory.DirectoryPlace; back: boolean } {
  let parts: unknown
  try {
    parts = JSON.parse(Buffer.from(token, 'base64url').toString())
  } catch {
    parts = undefined
  }
  const [way, members, roomId] = Array.isArray(parts) ? (parts as unknown[]) : []
  if (
    (way !== 'b' && way !== 'f') ||
    typeof members !== 'number' ||
    !Number.isInteger(members) ||
    Math.abs(members) > 2 ** 31 - 1 ||
    typeof roomId !== 'string' ||
    roomId.includes('\0')
  )
    throw invalidParam("'since' is not a token of this directory")
  return { place: { members, roomId }, back: way === 'b' }
}
