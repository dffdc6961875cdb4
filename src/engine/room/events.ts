import { LRUCache } from 'lru-cache'
import { parseJson } from '#core/canonical-json.ts'
import { toRoomEvent } from '#core/event/check.ts'
import type { Pdu } from '#core/event/pdu.ts'
import type { Pool } from '#store/db.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as findEvents from '#store/room/find-events.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Events of rooms, by number and by ID: bounded in bytes, filled by look-ups of many at once. */
export class EventCache {
  readonly #sql: Pool
  readonly #byNid: LRUCache<number, Known>
  readonly #nidOf = new Map<string, number>()

  constructor(sql: Pool, maxBytes: number) {
    this.#sql = sql
    this.#byNid = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ bytes }) => bytes,
      dispose: (known, nid) => {
        if (this.#nidOf.get(known.event.eventId) === nid) this.#nidOf.delete(known.event.eventId)
      },
    })
  }

  /** Remembers an event; until it is committed its room does so too. */
  add(known: Known): void {
    this.#byNid.set(known.nid, known)
    this.#nidOf.set(known.event.eventId, known.nid)
  }

  forget(known: Known): void {
    this.#byNid.delete(known.nid)
  }

  /** Forgets all that is known of a room. */
  forgetRoom(roomId: string): void {
    const own: number[] = []
    for (const [nid, { event }] of this.#byNid.entries()) if (event.roomId === roomId) own.push(nid)
    for (const nid of own) this.#byNid.delete(nid)
  }

  /** An event that is in memory. */
  get(nid: number): Known | undefined {
    return this.#byNid.get(nid)
  }

  /** An event of a room that is in memory. */
  find(room: Room, eventId: string): Known | undefined {
    const known = room.uncommitted.get(eventId)
    if (known) return known
    const nid = this.#nidOf.get(eventId)
    const found = nid === undefined ? undefined : this.#byNid.get(nid)
    return found?.event.roomId === room.roomId ? found : undefined
  }

  /** Events by ID, if all of them are in memory. */
  findAll(room: Room, eventIds: readonly string[]): Map<string, Known> | undefined {
    const found = new Map<string, Known>()
    for (const eventId of eventIds) {
      const known = this.find(room, eventId)
      if (!known) return undefined
      found.set(eventId, known)
    }
    return found
  }

  /** Events by ID; those that are not of this room, or not there, are left out. */
  *byIds(room: Room, eventIds: Iterable<string>): Task<Map<string, Known>> {
    const found = new Map<string, Known>()
    const missing: Uint8Array[] = []
    const wanted = eventIds instanceof Set ? (eventIds as Set<string>) : new Set(eventIds)
    for (const eventId of wanted) {
      const known = this.find(room, eventId)
      if (known) found.set(eventId, known)
      else missing.push(packEventId(eventId))
    }
    if (missing.length === 0) return found
    // Of each lane by itself: what one asks for is not to wait for what a flooded room asks for.
    const rows = yield* wait(findEvents.byIds(this.#sql, missing).then((list) => list))
    for (const row of rows) {
      if (row.room_nid !== room.nid) continue
      const known = this.#read(room, row)
      found.set(known.event.eventId, known)
    }
    // What was decided while it was looked for is in memory only.
    if (found.size < wanted.size)
      for (const eventId of wanted) {
        const known = this.find(room, eventId)
        if (known) found.set(eventId, known)
      }
    return found
  }

  /** Events of a room by number; one that is not there is a fault of ours. */
  *byNids(room: Room, nids: Iterable<number>): Task<Map<number, Known>> {
    const found = new Map<number, Known>()
    const missing: number[] = []
    for (const nid of nids) {
      const known = this.#byNid.get(nid)
      if (known) found.set(nid, known)
      else missing.push(nid)
    }
    if (missing.length === 0) return found
    // What is not committed may have left the cache.
    for (const known of room.uncommitted.values()) found.set(known.nid, known)
    const wanted = [...new Set(missing)].filter((nid) => !found.has(nid))
    for (let from = 0; from < wanted.length; from += rowsPerQuery) {
      const some = wanted.slice(from, from + rowsPerQuery)
      const rows = yield* wait(findEvents.byNids(this.#sql, room.shard, some).then((list) => list))
      for (const [index, row] of rows.entries()) {
        found.set(row.event_nid, this.#read(room, row))
        if (index % rowsPerStep === 0) yield
      }
    }
    const lost = wanted.find((nid) => !found.has(nid))
    if (lost !== undefined) throw new Error(`event ${lost} of ${room.roomId} is not there`)
    return found
  }

  #read(room: Room, row: findEvents.FoundEvent): Known {
    const pdu = parseJson(row.json) as Pdu
    const eventId = unpackEventId(row.event_id, room.version)
    const known: Known = {
      nid: row.event_nid,
      event: toRoomEvent(room.version, pdu, eventId, room.roomId),
      typeNid: row.type_nid,
      stateKeyNid: row.state_key_nid,
      senderNid: row.sender_nid,
      authNids: row.auth_nids,
      flags: row.flags,
      snapshotNid: row.snapshot_nid,
      chain: row.chain,
      chainIndex: row.chain_index,
      authOrder: row.auth_order,
      bytes: 500 + 3 * row.json.length,
    }
    // What is decided meanwhile is newer than what was read.
    const decided = this.find(room, eventId)
    if (decided) return decided
    this.add(known)
    return known
  }
}

const rowsPerQuery = 5_000
const rowsPerStep = 50
