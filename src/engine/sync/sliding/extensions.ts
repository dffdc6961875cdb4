import type { JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Typing } from '#engine/live/typing.ts'
import type { Place } from '#engine/read/places.ts'
import type { View } from '#engine/read/positions.ts'
import type { Reader } from '#engine/read/room.ts'
import type { TypingPoint } from '#engine/read/sync-token.ts'
import * as roomLists from '#store/user/read-room-lists.ts'
import type { AccountData } from '#engine/sync/account-data.ts'
import { readDeviceLists } from '#engine/sync/device-lists.ts'
import { contentsOfReceipts, readReceipts } from '#engine/sync/receipts.ts'
import { readKeySupply, readToDevice } from '#engine/sync/to-device.ts'
import { readTyping } from '#engine/sync/typing.ts'
import type { UserFacts } from '#engine/sync/user-facts.ts'
import type { Choice } from './choose.ts'
import type { Link, Point } from './connections.ts'
import { asSyncRequest, type Extensions, type Scope, type SlidingRequest } from './request.ts'

/** What an extension tells, and whether a client that waits should hear it at once. */
type Section = { json: JsonObject; hasNews: boolean }

export type ExtensionNews = {
  readonly json: JsonObject
  readonly hasNews: boolean
  readonly typing: TypingPoint | undefined
  readonly scopes: Point['scopes']
  /** Rooms in which receipts moved. */
  readonly read: readonly Place[]
}

type Reading = Pick<Reader, 'sql' | 'positions'> & {
  readonly typing?: Typing | undefined
  readonly facts?: UserFacts
}

/** What an answer tells that is no part of rooms. */
export type Asking = {
  readonly request: SlidingRequest
  readonly view: View
  readonly link: Link
  readonly choice: Choice
  readonly accountData: AccountData
  /** Events that are told, by the number of their room: where the room is told anew. */
  readonly anew: ReadonlyMap<number, readonly string[]>
}

/** The sections that a request asks for. */
export async function readExtensions(reader: Reading, asking: Asking): Promise<ExtensionNews> {
  const { request, link, accountData } = asking
  const { extensions } = request
  const sightOf = sights(asking)
  const scopes = {
    accountData: sightOf(extensions.accountData, link.point?.scopes.accountData),
    receipts: sightOf(extensions.receipts, link.point?.scopes.receipts),
    typing: sightOf(extensions.typing, link.point?.scopes.typing),
  }
  const typing = readTypists(reader, asking, scopes.typing)
  const [toDevice, e2ee, ofRooms, receipts] = await Promise.all([
    extensions.toDevice && readMessages(reader, asking, extensions.toDevice),
    extensions.e2ee && readEncryption(reader, asking),
    extensions.accountData && readRoomData(reader, asking, scopes.accountData),
    extensions.receipts && readRead(reader, asking, scopes.receipts),
  ])
  const global = link.point
    ? accountData.global
    : accountData.global.toSorted((a, b) => (a.type < b.type ? -1 : 1))
  const sections: Record<string, Section | undefined> = {
    to_device: toDevice,
    e2ee,
    account_data: ofRooms && {
      json: { global: global.map((entry) => ({ ...entry })), rooms: ofRooms },
      hasNews: global.length > 0 || Object.keys(ofRooms).length > 0,
    },
    receipts: receipts && roomsOf(receipts),
    typing: extensions.typing && roomsOf(typing.rooms),
  }
  const json: JsonObject = {}
  let hasNews = false
  for (const [name, section] of Object.entries(sections)) {
    if (!section) continue
    json[name] = section.json
    hasNews ||= section.hasNews
  }
  return {
    json,
    hasNews,
    typing: typing.point,
    scopes: {
      accountData: scopes.accountData.numbers,
      receipts: scopes.receipts.numbers,
      typing: scopes.typing.numbers,
    },
    read: [...(receipts?.keys() ?? [])],
  }
}

function roomsOf(found: ReadonlyMap<Place, JsonObject>): Section {
  const rooms: JsonObject = {}
  for (const [{ roomId }, event] of found) rooms[roomId] = event
  return { json: { rooms }, hasNews: found.size > 0 }
}

/** Joined rooms of an answer for which an extension is told. */
type Sight = {
  readonly all: readonly Place[]
  /** Those that it was told for before, and those that it was not. */
  readonly known: readonly Place[]
  readonly fresh: readonly Place[]
  readonly numbers: ReadonlySet<number>
}

/**
 * Finds them out: extensions are for the rooms that lists and subscriptions have, changed or not. Mostly
 * they all are for the same rooms, and these are those of the last time.
 */
function sights({ choice, request }: Asking) {
  const found = new Map<ReadonlySet<number> | undefined, Sight>()
  const nowhere: Sight = { all: [], known: [], fresh: [], numbers: new Set() }
  return (scope: Scope | undefined, told: ReadonlySet<number> | undefined): Sight => {
    if (!scope) return nowhere
    if (scope.rooms) return sightOf(placesIn(choice, request, scope), told)
    const sight = found.get(told) ?? sightOf(choice.inSight, told)
    found.set(told, sight)
    return sight
  }
}

function sightOf(all: readonly Place[], told: ReadonlySet<number> | undefined): Sight {
  const fresh = all.filter(({ roomNid }) => !told?.has(roomNid))
  const known = fresh.length === 0 ? all : all.filter(({ roomNid }) => told?.has(roomNid))
  const isSame = fresh.length === 0 && told?.size === all.length
  const numbers = isSame ? told : new Set(all.map(({ roomNid }) => roomNid))
  return { all, known, fresh, numbers }
}

/** The rooms of some lists, and some that are subscribed to. */
function placesIn(
  { windows, inSight }: Choice,
  { subscriptions }: SlidingRequest,
  { lists, rooms }: Scope,
): Place[] {
  const listed = new Set<string>()
  for (const [name, { parts }] of windows)
    if (!lists || lists.has(name))
      for (const { entries } of parts) for (const { place } of entries) listed.add(place.roomId)
  return inSight.filter(
    ({ roomId }) => listed.has(roomId) || (rooms?.has(roomId) && subscriptions.has(roomId)),
  )
}

/** MSC3885 */
async function readMessages(
  { sql, facts }: Reading,
  { request: { userId, deviceId }, view: { vector, news } }: Asking,
  { since, limit }: NonNullable<Extensions['toDevice']>,
): Promise<Section> {
  const high = vector.users[shardOf(userId)]!
  // Of another life of the database: nothing up to it may be taken for told.
  if (since > high) return { json: { next_batch: String(since), events: [] }, hasNews: false }
  const from = { ...vector, toDevice: since }
  const known = facts && { facts, news }
  const { events, toldTo } = await readToDevice(sql, userId, deviceId, from, vector, limit, known)
  return {
    json: { next_batch: String(toldTo ?? high), events: [...events] },
    hasNews: events.length > 0,
  }
}

/** MSC3884 */
async function readEncryption(
  { sql, positions, facts }: Reading,
  { request: { userId, deviceId }, view, link: { point } }: Asking,
): Promise<Section> {
  const { vector, news } = view
  const places = point ? view.changed(point.vector) : view.places
  const [supply, lists] = await Promise.all([
    readKeySupply(sql, userId, deviceId, vector, facts),
    readDeviceLists(sql, positions, userId, places, point?.vector, vector, news),
  ])
  const changed = [...lists.changed]
  const left = [...lists.left]
  return {
    json: {
      device_one_time_keys_count: { ...supply.oneTimeKeys },
      device_unused_fallback_key_types: [...supply.unusedFallbacks],
      ...(point && { device_lists: { changed, left } }),
    },
    hasNews: changed.length > 0 || left.length > 0,
  }
}

/** MSC3959: of rooms that come into view all there is, of the others what is new. */
async function readRoomData(
  { sql }: Reading,
  { request: { userId }, view: { vector }, link: { point }, accountData }: Asking,
  { all, known, fresh }: Sight,
): Promise<JsonObject> {
  const rooms: JsonObject = {}
  if (accountData.rooms.size > 0)
    for (const { roomId } of point ? known : all) {
      const entries = accountData.rooms.get(roomId)
      if (entries) rooms[roomId] = entries.map((entry) => ({ ...entry }))
    }
  if (!point || fresh.length === 0) return rooms
  const shard = shardOf(userId)
  const roomIds = fresh.map(({ roomId }) => roomId)
  const rows = await roomLists.ofRooms(sql, shard, userId, roomIds, vector.users[shard]!)
  for (const { room_id: roomId, type, content } of rows) {
    const entry = { type, content: JSON.parse(content) as JsonObject }
    const list = rooms[roomId] as JsonObject[] | undefined
    if (list) list.push(entry)
    else rooms[roomId] = [entry]
  }
  return rooms
}

/** MSC3960: of rooms that come into view the user's own, and those on what is told of them. */
async function readRead(
  { sql, positions }: Reading,
  { request, view, link: { point }, accountData, anew }: Asking,
  sight: Sight,
): Promise<Map<Place, JsonObject>> {
  const { userId } = request
  const { ignored } = accountData
  const again = anew.size > 0 ? sight.known.filter(({ roomNid }) => anew.has(roomNid)) : []
  const whole = [...sight.fresh, ...again]
  const live =
    again.length > 0 ? sight.known.filter(({ roomNid }) => !anew.has(roomNid)) : sight.known
  const plan = { rooms: [], invites: [], knocks: [], refused: [] }
  const eventIds = whole.flatMap(({ roomNid }) => anew.get(roomNid) ?? [])
  const roomIds = whole.map(({ roomId }) => roomId)
  const asked = asSyncRequest(request, point?.vector)
  const { vector, news } = view
  const candidates = point
    ? view
        .read(point.vector)
        .filter(
          ({ roomNid }) =>
            point.scopes.receipts.has(roomNid) && sight.numbers.has(roomNid) && !anew.has(roomNid),
        )
    : []
  const [rows, moved] = await Promise.all([
    whole.length
      ? roomLists.receiptsOn(sql, shardOf(userId), userId, roomIds, eventIds)
      : ([] as roomLists.ReceiptRow[]),
    point && live.length
      ? readReceipts(
          sql,
          positions,
          asked,
          { vector, news, places: live, candidates },
          plan,
          ignored,
        )
      : new Map<number, JsonObject>(),
  ])
  const contents = contentsOfReceipts(rows.filter(({ user_id: user }) => !ignored.has(user)))
  const found = new Map<Place, JsonObject>()
  if (contents.size > 0 || moved.size > 0)
    for (const place of sight.all) {
      const content = contents.get(place.roomId)
      const event = content ? { type: 'm.receipt', content } : moved.get(place.roomNid)
      if (event) found.set(place, event)
    }
  return found
}

/** MSC3961 */
function readTypists(
  { typing }: Reading,
  { link: { point }, accountData: { ignored }, request }: Asking,
  { all, known, fresh }: Sight,
): { rooms: Map<Place, JsonObject>; point: TypingPoint | undefined } {
  const rooms = new Map<Place, JsonObject>()
  if (!request.extensions.typing) return { rooms, point: point?.typing }
  const told = readTyping(typing, known, () => true, ignored, point?.typing)
  const anew = readTyping(typing, fresh, () => true, ignored, undefined)
  if (told.rooms.size > 0 || anew.rooms.size > 0)
    for (const place of all) {
      const event = told.rooms.get(place.roomNid) ?? anew.rooms.get(place.roomNid)
      if (event) rooms.set(place, event)
    }
  const now = anew.point ?? told.point
  const loud = [...(told.point?.rooms ?? []), ...(anew.point?.rooms ?? [])]
  return { rooms, point: now && { ...now, rooms: loud.slice(0, 16) } }
}
