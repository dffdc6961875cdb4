import { type Appservice, takesEphemeral, takesToDevice } from '#core/appservice.ts'
import { transactionBody } from '#core/appservice-transaction.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { type JsonObject, setKey } from '#core/json.ts'
import { shardOf, shardOfNid } from '#core/shard.ts'
import type { Following } from '#engine/appservice/follows.ts'
import type { Passing } from '#engine/appservice/passing.ts'
import type { Supplies } from '#engine/appservice/supplies.ts'
import { type ReadEvent, isShown, loadEvents, writeEvent } from '#engine/read/events.ts'
import { type RoomRef, toRef } from '#engine/read/room-ref.ts'
import { readStripped } from '#engine/read/stripped.ts'
import * as queue from '#store/appservice/queue.ts'
import * as supplies from '#store/appservice/supplies.ts'
import type { Pool, Sql } from '#store/db.ts'
import * as toDevice from '#store/user/to-device.ts'

/**
 * Events of one transaction, and characters of them as they are stored; one event always fits. With what they
 * replaced, and the messages, it stays below the megabyte that many a receiver takes at most.
 */
const maxEvents = 100
const maxSize = 384 * 1024
/** Messages to devices, with their characters, receipts and device lists of one transaction. */
const maxMessages = 100
const maxMessagesSize = 192 * 1024
const maxReceipts = 200
const maxLists = 200
/** Users for whose devices messages wait that are looked at for one transaction. */
const maxAddressed = 100

export type Sources = {
  sql: Pool
  clock: () => number
  passing: Passing
  supplies: Supplies
  /** Of each application service, users for whose devices messages may wait. */
  addressed: Map<number, Set<string>>
}

/** A transaction that is ready to be sent. */
export type Ready = {
  txnId: string
  body: string
  /** How many events left the queue for it. */
  taken: number
  /** It is durable, and repeated until it is taken. Else it may be lost. */
  durable: boolean
}

/**
 * Puts together what one application service is sent next, and makes it durable; undefined: there is nothing.
 * Only what passes is sent without that.
 */
export async function nextTransaction(
  sources: Sources,
  { nid, appservice }: Following,
  place: number,
  passingId: () => string,
): Promise<Ready | undefined> {
  const { sql, clock } = sources
  const now = clock()
  const [waiting, receipts, lists, messages] = await Promise.all([
    queue.oldest(sql, nid, maxEvents),
    takesEphemeral(appservice) ? queue.receipts(sql, nid, maxReceipts) : [],
    appservice.pushEncryption ? queue.lists(sql, nid, maxLists) : [],
    takesToDevice(appservice) ? readMessages(sources, place) : [],
  ])
  const taken = fitting(waiting, ({ size }) => size, maxSize)
  const events = await writeEvents(sql, appservice, taken, now)
  const passing = sources.passing.take(place)
  const supply = sources.supplies.take(place)
  const body = JSON.stringify(
    transactionBody(appservice, {
      events,
      ephemeral: [...passing.events, ...receiptEvents(receipts)],
      toDevice: messages.map(writeMessage),
      changedLists: lists.filter((row) => !row.left_rooms).map((row) => row.user_id),
      leftLists: lists.filter((row) => row.left_rooms).map((row) => row.user_id),
      oneTimeKeys: supply.oneTimeKeys,
      unusedFallbacks: supply.unusedFallbacks,
    }),
  )
  const isDurable = taken.length + receipts.length + lists.length + messages.length > 0
  if (!isDurable && supply.size === 0) {
    if (passing.events.length === 0) return undefined
    passing.done()
    return { txnId: passingId(), body, taken: 0, durable: false }
  }
  const txnId = await queue.begin(
    sql,
    nid,
    { body, events: events.length, madeAt: now },
    { queueNo: taken.at(-1)?.queue_no, receipts, lists },
    (transaction) => dropMessages(transaction, messages),
  )
  passing.done()
  supply.done()
  return { txnId, body, taken: taken.length, durable: true }
}

/** The first of them that one transaction may hold. */
function fitting<T>(waiting: readonly T[], sizeOf: (row: T) => number, most: number): T[] {
  let size = 0
  const end = waiting.findIndex((row, index) => {
    size += sizeOf(row)
    return index > 0 && size > most
  })
  return end < 0 ? [...waiting] : waiting.slice(0, end)
}

/** Spec: client-server-api/#room-event-format */
async function writeEvents(
  sql: Sql,
  appservice: Appservice,
  rows: readonly queue.Queued[],
  now: number,
): Promise<JsonObject[]> {
  const rooms = new Map<number, RoomRef>()
  for (const { shard, room_nid, room_id, version } of rows) {
    if (room_nid === null || room_id === null || version === null) continue
    const room = toRef({ shard, room_nid, room_id, version })
    if (room) rooms.set(room_nid, room)
  }
  const found = await loadEvents(
    sql,
    rooms,
    rows.map(({ shard, event_nid: nid }) => ({ shard, nid })),
  )
  const events = rows.flatMap(({ event_nid: nid }) => found.get(nid) ?? []).filter(isShown)
  const [replaced, states] = await Promise.all([
    loadEvents(
      sql,
      rooms,
      events.flatMap(({ replacedNid: nid }) =>
        nid === undefined ? [] : [{ shard: shardOfNid(nid), nid }],
      ),
    ),
    readInvites(sql, events),
  ])
  const audience = {
    userId: appservice.sender,
    deviceId: undefined,
    now,
    format: 'client',
    withoutRoomId: false,
  } as const
  return events.map((event) => {
    const before = event.replacedNid === undefined ? undefined : replaced.get(event.replacedNid)
    const written = writeEvent(event, audience, { replaced: before })
    const state = states.get(event.nid)
    if (state) (written['unsigned'] as JsonObject)['invite_room_state'] = state
    return written
  })
}

/** What goes with the invites among some events. Of one room only the last invite has it. */
async function readInvites(
  sql: Sql,
  events: readonly ReadEvent[],
): Promise<ReadonlyMap<number, JsonObject[]>> {
  const invites = new Map<number, ReadEvent>()
  for (const each of events)
    if (each.event.type === 'm.room.member' && membershipOf(each.event.content) === 'invite')
      invites.set(each.room.roomNid, each)
  const found = await readStripped(
    sql,
    [...invites.values()].map(({ room: { shard, roomNid }, nid, position }) => ({
      shard,
      roomNid,
      eventNid: nid,
      position: position ?? 0,
    })),
  )
  return new Map(
    [...invites.values()].flatMap(({ nid, room }) => {
      const state = found.get(room.roomNid)?.state
      return state ? [[nid, state] as const] : []
    }),
  )
}

/** One event for each room. Spec: client-server-api/#mreceipt */
function receiptEvents(rows: readonly queue.ReceiptNews[]): JsonObject[] {
  const rooms = new Map<string, JsonObject>()
  const inner = (object: JsonObject, key: string): JsonObject => {
    if (!Object.hasOwn(object, key)) setKey(object, key, {})
    return object[key] as JsonObject
  }
  for (const { room_id: roomId, event_id: eventId, ts, ...row } of rows) {
    if (eventId === null || ts === null) continue
    const content = rooms.get(roomId) ?? {}
    rooms.set(roomId, content)
    const users = inner(inner(content, eventId), row.type)
    // Of several receipts of a user on one event only one can be told: the unthreaded.
    if (Object.hasOwn(users, row.user_id) && row.thread_id !== '') continue
    users[row.user_id] = { ts, ...(row.thread_id !== '' && { thread_id: row.thread_id }) }
  }
  return Array.from(rooms, ([roomId, content]) => ({
    type: 'm.receipt',
    room_id: roomId,
    content,
  }))
}

/** The oldest messages that wait; users for whom there are none are forgotten. */
async function readMessages(
  { sql, addressed }: Sources,
  place: number,
): Promise<supplies.MessageRow[]> {
  const users = addressed.get(place)
  if (!users || users.size === 0) return []
  const asked = [...users].slice(0, maxAddressed)
  // Before the look: who is addressed after it is there again.
  for (const userId of asked) users.delete(userId)
  try {
    const rows = await supplies.messages(
      sql,
      asked.map((userId) => ({ shard: shardOf(userId), userId })),
      maxMessages,
    )
    const taken = fitting(rows, ({ content }) => content.length, maxMessagesSize)
    // There may be more.
    const isAll = rows.length < maxMessages && taken.length === rows.length
    if (!isAll) for (const userId of asked) users.add(userId)
    else for (const { user_id: userId } of rows) users.add(userId)
    return taken
  } catch (error) {
    for (const userId of asked) users.add(userId)
    throw error
  }
}

const writeMessage = (row: supplies.MessageRow): JsonObject => ({
  type: row.type,
  sender: row.sender,
  content: JSON.parse(row.content) as JsonObject,
  to_user_id: row.user_id,
  to_device_id: row.device_id,
})

async function dropMessages(sql: Sql, rows: readonly supplies.MessageRow[]): Promise<void> {
  if (rows.length === 0) return
  await toDevice.drop(
    sql,
    rows.map((row) => ({
      shard: row.shard,
      userId: row.user_id,
      deviceId: row.device_id,
      position: row.position,
    })),
  )
}
