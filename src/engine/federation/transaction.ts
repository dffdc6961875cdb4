import { redactJsonForServers } from '#core/event/redact.ts'
import { roomVersions } from '#core/room-version.ts'
import type { ServerSets } from '#engine/federation/server-sets.ts'
import type { Pool } from '#store/db.ts'
import * as outbox from '#store/federation/outbox.ts'
import * as outboxEdus from '#store/federation/outbox-edus.ts'
import * as outboxTxns from '#store/federation/outbox-txns.ts'

/** Spec: server-server-api/#transactions */
const maxPdus = 50
const maxEdus = 100

/** Not spec: how large the EDUs of one transaction may grow together, in characters. */
const maxEduChars = 1024 * 1024

/** How many rooms are looked at for one transaction. */
const maxRooms = 50

/** A server that was away gets rooms with more events than this by their last event alone. */
const longStretch = 100

/** Where in the order of rooms the next transaction begins, so that all rooms get their turn. */
export type Place = { shard: number; roomNid: number }
export const firstPlace: Place = { shard: -1, roomNid: 0 }

export type Next = {
  txn: outboxTxns.OutboxTxn | undefined
  place: Place
  /** Ephemeral EDUs that found room in it. */
  ephemeral: number
}

/**
 * Puts the next transaction for a server together and makes it durable; undefined if nothing waits.
 * To-device messages and device lists come first: keys never wait behind events.
 *
 * In catch-up, rooms with a long stretch of events are brought up to date by their last event: the
 * other server asks for those before it as it needs them. Short stretches are sent whole.
 */
export async function nextTransaction(
  sql: Pool,
  sets: ServerSets,
  server: string,
  ephemeral: readonly string[],
  place: Place,
  catchingUp: boolean,
  now: number,
): Promise<Next> {
  const eventsPerRoom = catchingUp ? longStretch + 1 : maxPdus
  const [durable, rooms] = await Promise.all([
    outboxEdus.first(sql, server, maxEdus),
    pendingRooms(sql, server, place, eventsPerRoom),
  ])
  const edus = fitting(durable)
  const spare = ephemeral.slice(0, Math.max(0, maxEdus - edus.length))
  const offers = await offersOf(sql, server, rooms, sets, eventsPerRoom)
  const chosen = chooseEvents(offers, catchingUp)
  const last = rooms.at(-1)
  const isLast = !last || rooms.length < maxRooms
  const next = isLast ? firstPlace : { shard: last.shard, roomNid: last.room_nid }
  if (chosen.nothing.length > 0)
    await sql.begin((transaction) =>
      outboxTxns.advance(transaction, { server, ...advances(chosen.nothing) }),
    )

  const isEmpty = edus.length === 0 && spare.length === 0 && chosen.events.length === 0
  if (isEmpty && rooms.length > 0)
    return nextTransaction(sql, sets, server, ephemeral, next, catchingUp, now)
  if (isEmpty) return { txn: undefined, place: next, ephemeral: 0 }
  const txn: outboxTxns.OutboxTxn = {
    server,
    txn_id: crypto.randomUUID(),
    origin_server_ts: now,
    shards: chosen.events.map((event) => event.shard),
    event_nids: chosen.events.map((event) => event.nid),
    edus: `[${[...edus.map(({ json }) => json), ...spare].join(',')}]`,
    edu_ids: edus.map((edu) => edu.edu_id),
    ...advances(chosen.rooms),
  }
  // What may be lost need not be repeated either.
  if (edus.length > 0 || chosen.events.length > 0) await outboxTxns.add(sql, txn)
  return { txn, place: next, ephemeral: spare.length }
}

/** The rooms from a place on, or from the first if there are none behind it. */
async function pendingRooms(
  sql: Pool,
  server: string,
  place: Place,
  eventsPerRoom: number,
): Promise<outbox.PendingRoom[]> {
  const rooms = await outbox.pendingRooms(sql, server, place, maxRooms, eventsPerRoom)
  if (rooms.length > 0 || place === firstPlace) return rooms
  return outbox.pendingRooms(sql, server, firstPlace, maxRooms, eventsPerRoom)
}

function fitting<T extends { json: string }>(edus: readonly T[]): T[] {
  let chars = 0
  const fit = edus.findIndex(({ json }, index) => {
    chars += json.length
    return chars > maxEduChars && index > 0
  })
  return fit < 0 ? [...edus] : edus.slice(0, fit)
}

type Chosen = { shard: number; roomNid: number; position: number }

/** What a room has for a server. */
type Offer = {
  shard: number
  roomNid: number
  lastPosition: number
  lastNid: number | null
  events: { position: number; nid: number }[]
  /** Up to where `events` says all. */
  seenTo: number
  isLong: boolean
}

/** Leaves out what is not for this server: it was not in the room then. */
async function offersOf(
  sql: Pool,
  server: string,
  rooms: readonly outbox.PendingRoom[],
  sets: ServerSets,
  eventsPerRoom: number,
): Promise<Offer[]> {
  if (rooms.length === 0) return []
  const includes = await sets.of(sql, server, new Set(rooms.flatMap((room) => room.set_nids)))
  return rooms.map((room) => {
    const { positions, event_nids: nids, set_nids: setNids, named } = room
    const isCut = positions.length >= eventsPerRoom
    return {
      shard: room.shard,
      roomNid: room.room_nid,
      lastPosition: room.last_position,
      lastNid: room.last_nid,
      events: positions.flatMap((position, index) =>
        named[index] || includes(setNids[index]!) ? [{ position, nid: nids[index]! }] : [],
      ),
      seenTo: isCut ? positions.at(-1)! : room.last_position,
      isLong: positions.length > longStretch,
    }
  })
}

function chooseEvents(rooms: readonly Offer[], catchingUp: boolean) {
  const events: { shard: number; nid: number }[] = []
  const advanced: Chosen[] = []
  const nothing: Chosen[] = []
  const later: Offer[] = []

  // First what brings the most rooms up to date.
  for (const room of rooms) {
    const { shard, roomNid } = room
    if (catchingUp && room.isLong && room.lastNid !== null) {
      if (events.length >= maxPdus) continue
      events.push({ shard, nid: room.lastNid })
      advanced.push({ shard, roomNid, position: room.lastPosition })
    } else if (room.events.length > 0) later.push(room)
    else nothing.push({ shard, roomNid, position: room.seenTo })
  }
  for (const { shard, roomNid, events: own, seenTo } of later) {
    const chosen = own.slice(0, maxPdus - events.length)
    if (chosen.length === 0) break
    for (const { nid } of chosen) events.push({ shard, nid })
    const position = chosen.length === own.length ? seenTo : chosen.at(-1)!.position
    advanced.push({ shard, roomNid, position })
  }
  return { events, rooms: advanced, nothing }
}

const advances = (rooms: readonly Chosen[]) => ({
  room_shards: rooms.map((room) => room.shard),
  room_nids: rooms.map((room) => room.roomNid),
  room_positions: rooms.map((room) => room.position),
})

/**
 * The body of a transaction: the same each time it is sent, but for events that were redacted meanwhile.
 * What was taken back goes to no server that was away at the time.
 */
export async function bodyOf(
  sql: Pool,
  origin: string,
  txn: outboxTxns.OutboxTxn,
): Promise<string> {
  const rows =
    txn.event_nids.length > 0 ? await outbox.eventJsons(sql, txn.shards, txn.event_nids) : []
  const pdus = rows.map(({ json, redacted_in: id }) => {
    const version = id === null ? undefined : roomVersions.get(id)
    return version ? redactJsonForServers(version, json) : json
  })
  return `{"origin":${JSON.stringify(origin)},"origin_server_ts":${txn.origin_server_ts},"pdus":[${pdus.join(',')}],"edus":${txn.edus}}`
}
