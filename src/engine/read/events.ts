import { parseJson } from '#core/canonical-json.ts'
import { toRoomEvent } from '#core/event/check.ts'
import { type Unsigned, clientEvent, federationEvent } from '#core/event/client-format.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { redactEvent } from '#core/event/receive.ts'
import { type JsonObject, isObject } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as readEvents from '#store/room/read-events.ts'
import type { Erased } from './erased.ts'
import type { RoomRef } from './room-ref.ts'

/** An event as readers get it. */
export type ReadEvent = {
  readonly nid: number
  readonly room: RoomRef
  /** Redacted, if a redaction counts. */
  readonly event: RoomEvent
  readonly redactedBecause: RoomEvent | undefined
  readonly position: number | undefined
  readonly chain: number | undefined
  readonly index: number | undefined
  readonly flags: number
  readonly snapshot: number | undefined
  /** The state event that it replaced when it became current. */
  readonly replacedNid: number | undefined
  /** What is ours and no part of the event. */
  readonly internal: JsonObject
  /** A redaction that does not count, or not yet: clients do not get it (v3+). */
  readonly withheld: boolean
}

/** Events by number, with their redactions, in two statements at most. */
export async function loadEvents(
  sql: Sql,
  rooms: ReadonlyMap<number, RoomRef>,
  wanted: readonly { shard: number; nid: number }[],
): Promise<Map<number, ReadEvent>> {
  const found = new Map<number, ReadEvent>()
  if (wanted.length === 0) return found
  const rows = await readEvents.byNids(
    sql,
    wanted.map((each) => each.shard),
    wanted.map((each) => each.nid),
  )
  for (const each of await toReadEvents(sql, rooms, rows)) found.set(each.nid, each)
  return found
}

/** One event by its ID, if it is known and of this room. */
export async function loadEvent(
  sql: Sql,
  room: RoomRef,
  eventId: string,
): Promise<ReadEvent | undefined> {
  const rows = await readEvents.byIds(sql, [packEventId(eventId)])
  const own = rows.filter((row) => row.room_nid === room.roomNid)
  const [event] = await toReadEvents(sql, new Map([[room.roomNid, room]]), own)
  // Another spelling of the same hash is not this event's ID.
  return event?.event.eventId === eventId ? event : undefined
}

/** What rows of these rooms say; one more statement if redactions are among them. */
export async function toReadEvents(
  sql: Sql,
  rooms: ReadonlyMap<number, RoomRef>,
  rows: readonly readEvents.EventRow[],
): Promise<ReadEvent[]> {
  const events: ReadEvent[] = []
  const redactions: { shard: number; roomNid: number; target: Uint8Array; nid: number }[] = []
  for (const row of rows) {
    const room = rooms.get(row.room_nid)
    if (!room) continue
    const event = toEvent(room, row.event_id, row.json)
    const { version } = room
    // v3+: a redaction is withheld until it counts.
    const withheld = event.type === 'm.room.redaction' && !version.redactionsAreAuthorized
    if (withheld && event.redacts !== undefined)
      redactions.push({
        shard: row.shard,
        roomNid: row.room_nid,
        target: packEventId(event.redacts),
        nid: row.event_nid,
      })
    const redacted = row.redaction_json !== null && row.redaction_id !== null
    events.push({
      nid: row.event_nid,
      room,
      event: redacted ? redactEvent(event) : event,
      redactedBecause: redacted ? toEvent(room, row.redaction_id!, row.redaction_json!) : undefined,
      position: row.position ?? undefined,
      chain: row.chain ?? undefined,
      index: row.chain_index ?? undefined,
      flags: row.flags,
      snapshot: row.snapshot_nid ?? undefined,
      replacedNid: row.replaced_nid ?? undefined,
      internal: row.internal === null ? {} : (JSON.parse(row.internal) as JsonObject),
      withheld,
    })
  }
  if (redactions.length === 0) return events
  const applied = new Set(
    (await readEvents.applied(sql, redactions)).map((row) => row.redaction_nid),
  )
  return events.map((each) => (applied.has(each.nid) ? { ...each, withheld: false } : each))
}

function toEvent(room: RoomRef, id: Uint8Array, json: string): RoomEvent {
  const eventId = unpackEventId(id, room.version)
  return toRoomEvent(room.version, parseJson(json) as Pdu, eventId, room.roomId)
}

/** Whether clients may get an event in a timeline: decided, good, and no redaction in waiting. */
export const isShown = (event: ReadEvent): boolean =>
  !event.withheld && (event.flags & readEvents.unshown) === 0

/** For whom an event is written out, and how. */
export type Audience = {
  readonly userId: string
  readonly deviceId: string | undefined
  readonly now: number
  readonly format: 'client' | 'federation'
  readonly withoutRoomId: boolean
  readonly erased?: Erased | undefined
}

export type Surroundings = {
  /** The state event that this one replaced. */
  readonly replaced?: ReadEvent | undefined
  /** The reader's membership at the event. */
  readonly membership?: string | undefined
  /** What is told of the events that relate to it. */
  readonly relations?: JsonObject | undefined
}

/** An event as one client gets it. */
export function writeEvent(
  { event: whole, redactedBecause, internal }: ReadEvent,
  audience: Audience,
  { replaced, membership, relations }: Surroundings = {},
): JsonObject {
  const event = isErased(whole, audience, membership) ? redactEvent(whole) : whole
  const { now, withoutRoomId } = audience
  const transactionId = transactionOf(internal, audience)
  const unsigned: Unsigned = {
    ...(transactionId !== undefined && { transaction_id: transactionId }),
    ...(membership !== undefined && { membership }),
    ...(replaced && {
      replaces_state: replaced.event.eventId,
      prev_content: replaced.event.content,
      // Not spec: clients tell from it who had invited whom.
      prev_sender: replaced.event.sender,
    }),
    ...(redactedBecause && {
      redacted_because: clientEvent(redactedBecause, { now, withoutRoomId }),
    }),
    ...(relations && { 'm.relations': relations }),
  }
  if (audience.format === 'client') return clientEvent(event, { unsigned, now, withoutRoomId })
  return federationEvent(event.pdu, { age: now - event.originServerTs, ...unsigned })
}

/** Whether the reader was not there when somebody said something who is erased by now. */
const isErased = (event: RoomEvent, { erased }: Audience, membership: string | undefined) =>
  erased !== undefined &&
  erased.size > 0 &&
  membership !== undefined &&
  membership !== 'join' &&
  event.stateKey === undefined &&
  erased.has(event.sender)

/** Only the device that sent an event hears its transaction again. */
function transactionOf(internal: JsonObject, { userId, deviceId }: Audience): string | undefined {
  const { txn } = internal
  if (!isObject(txn ?? null) || deviceId === undefined) return undefined
  const { userId: sender, deviceId: device, txnId } = txn as JsonObject
  return sender === userId && device === deviceId && typeof txnId === 'string' ? txnId : undefined
}
