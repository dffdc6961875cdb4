import { invalidParam } from '#core/error.ts'
import type { Edu } from '#core/event/edu.ts'
import { isEventIdOf } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { relationOf } from '#core/relations.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { ServerAcl } from '#core/server-acl.ts'
import { type ReadEvent, loadEvent } from '#engine/read/events.ts'
import { type RoomRef, findAccess, noSuchEvent, notInRoom } from '#engine/read/room.ts'
import { serversOf } from '#engine/read/servers.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Receipt, ReceiptType } from '#engine/user/writers/receipts.ts'
import type { Sql } from '#store/db.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as receipts from '#store/user/receipts.ts'

export type ReceiptsOptions = {
  sql: Sql
  users: Users
  serverName: string
  clock: () => number
  /** Sends an EDU (JSON text) that may be lost; a newer one of the same key takes its place. */
  sendEdu: (servers: string[], key: string, edu: string) => void
  /** Rooms as the intake knows them. */
  rooms: () => InboundRooms
  onFault: (error: unknown) => void
}

type InboundRooms = {
  find(
    sql: Sql,
    roomIds: readonly string[],
  ): Promise<Map<string, { kind: string; version: RoomVersion; acl: ServerAcl | undefined }>>
}

type EduReceipt = Extract<Edu, { type: 'm.receipt' }>['receipts'][number]

/** A receipt as its user asks for it. */
export type Reading = { type: ReceiptType; eventId: string; threadId?: string | undefined }

/** Spec: client-server-api/#server-behaviour-4 */
const maxHops = 3
/** Receipts of one transaction, and transactions whose receipts are being written; more are dropped. */
const maxReceipts = 1_000
const maxTaking = 50

/**
 * How far users have read.
 *
 * Spec: client-server-api/#receipts
 */
export class Receipts {
  readonly #options: ReceiptsOptions
  readonly #taking = new Set<Promise<void>>()

  constructor(options: ReceiptsOptions) {
    this.#options = options
  }

  /** Moves receipts of a local user, and tells the other servers of the public one. */
  async post(userId: string, roomId: string, readings: readonly Reading[]): Promise<void> {
    const { sql, users, clock } = this.#options
    const access = await findAccess(sql, roomId, userId)
    if (access?.standing?.membership !== 'join') throw notInRoom(userId, roomId)
    const { room } = access
    const places = await this.#places(readings.map(({ eventId }) => ({ room, eventId })))
    const ts = clock()
    const list: Receipt[] = []
    for (const { type, eventId, threadId } of readings) {
      const eventPosition = places.get(placeName(roomId, eventId))
      if (eventPosition === undefined) throw noSuchEvent()
      list.push({ roomId, type, threadId: threadId ?? '', eventId, eventPosition, ts })
    }
    await Promise.all(list.map((receipt) => this.#checkThread(room, receipt)))
    const { moved } = await users.call('putReceipts', userId, list)
    const told = moved.map((at) => list[at]!).filter(({ type }) => type === 'm.read')
    if (told.length === 0) return
    const servers = await serversOf(sql, room)
    for (const receipt of told) this.#tell(servers, userId, receipt)
  }

  /**
   * Takes what another server says of its users' receipts. Nobody waits for it, and what is too much
   * is lost: the next receipt of a user says more.
   */
  take(origin: string, edus: readonly Edu[]): void {
    const told = edus.flatMap((edu) => (edu.type === 'm.receipt' ? edu.receipts : []))
    if (told.length === 0 || this.#taking.size >= maxTaking) return
    const taking = this.#take(origin, told.slice(0, maxReceipts))
      .catch((error: unknown) => this.#options.onFault(error))
      .finally(() => this.#taking.delete(taking))
    this.#taking.add(taking)
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    while (this.#taking.size > 0) await Promise.all(this.#taking)
  }

  async #take(origin: string, told: readonly EduReceipt[]): Promise<void> {
    const { sql, users } = this.#options
    const rooms = await this.#options
      .rooms()
      .find(sql, [...new Set(told.map(({ roomId }) => roomId))])
    const allowed = told.filter(({ roomId, eventId }) => {
      const room = rooms.get(roomId)
      if (room?.kind !== 'joined' || !isEventIdOf(room.version, eventId)) return false
      return room.acl?.allows(origin) ?? true
    })
    if (allowed.length === 0) return
    const named = allowed.flatMap(({ roomId, eventId, threadId }) => {
      const room = { roomId, version: rooms.get(roomId)!.version }
      const isRoot = threadId !== undefined && isEventIdOf(room.version, threadId)
      return [{ room, eventId }, ...(isRoot ? [{ room, eventId: threadId }] : [])]
    })
    const [places, joined] = await Promise.all([this.#places(named), receipts.joined(sql, allowed)])
    const members = new Set(joined.map((row) => placeName(row.room_id, row.user_id)))
    const byUser = new Map<string, Receipt[]>()
    for (const { roomId, userId, eventId, threadId = '', ts } of allowed) {
      if (!members.has(placeName(roomId, userId))) continue
      // Threads that nobody here knows would be rows without end.
      const isKnown =
        threadId === '' || threadId === 'main' || places.has(placeName(roomId, threadId))
      if (!isKnown) continue
      const eventPosition = places.get(placeName(roomId, eventId)) ?? null
      const list = byUser.get(userId) ?? []
      list.push({ roomId, type: 'm.read', threadId, eventId, eventPosition, ts })
      byUser.set(userId, list)
    }
    await Promise.all(
      Array.from(byUser, ([userId, list]) => users.call('putReceipts', userId, list)),
    )
  }

  /** Where events stand, by room and event. */
  async #places(
    named: readonly { room: Pick<RoomRef, 'roomId' | 'version'>; eventId: string }[],
  ): Promise<Map<string, number>> {
    const sound = named.filter(({ room, eventId }) => isEventIdOf(room.version, eventId))
    const places = new Map<string, number>()
    if (sound.length === 0) return places
    const versions = new Map(sound.map(({ room }) => [room.roomId, room.version]))
    const packed = sound.map(({ eventId }) => packEventId(eventId))
    for (const row of await receipts.placesOf(this.#options.sql, packed)) {
      const version = versions.get(row.room_id)
      if (version)
        places.set(placeName(row.room_id, unpackEventId(row.event_id, version)), row.position)
    }
    return places
  }

  /** The event of a threaded receipt is in that thread. Spec: client-server-api/#threaded-read-receipts */
  async #checkThread(room: RoomRef, { threadId, eventId }: Receipt): Promise<void> {
    if (threadId === '' || threadId === eventId) return
    const thread = await this.#threadOf(room, eventId)
    if (thread !== threadId) throw invalidParam('The event is not of the thread `thread_id`')
  }

  /** The root of the thread that an event is in, by itself or by what it relates to; else `main`. */
  async #threadOf(room: RoomRef, eventId: string): Promise<string> {
    let id = eventId
    for (let hop = 0; hop <= maxHops; hop++) {
      const event: ReadEvent | undefined = isEventIdOf(room.version, id)
        ? await loadEvent(this.#options.sql, room, id)
        : undefined
      const relation = event && relationOf(event.event.content)
      if (!relation) return 'main'
      if (relation.relType === 'm.thread') return relation.eventId
      id = relation.eventId
    }
    return 'main'
  }

  #tell(servers: string[], userId: string, { roomId, threadId, eventId, ts }: Receipt): void {
    const others = servers.filter((server) => server !== this.#options.serverName)
    if (others.length === 0) return
    const data: JsonObject = { ts, ...(threadId !== '' && { thread_id: threadId }) }
    const content = { [roomId]: { 'm.read': { [userId]: { data, event_ids: [eventId] } } } }
    const key = JSON.stringify(['m.receipt', roomId, userId, threadId])
    this.#options.sendEdu(others, key, JSON.stringify({ edu_type: 'm.receipt', content }))
  }
}

const placeName = (roomId: string, id: string) => `${roomId} ${id}`
