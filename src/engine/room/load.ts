import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { AuthPending, type PendingRow } from '#store/room/auth-pending.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import * as loadRoom from '#store/room/load-room.ts'
import { AuthChains } from '#engine/room/decide/auth-chains.ts'
import { after } from '#engine/room/decide/decide.ts'
import { firstKey } from '#store/room/order-key.ts'
import type { Parts } from '#engine/room/parts.ts'
import { loadRedactions } from '#engine/room/decide/redactions.ts'
import { type Extremity, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Takes a room into memory; null if there is none. */
export function* load(parts: Parts, roomId: string, shard: number): Task<Room | null> {
  const row = yield* wait(loadRoom.room(parts.sql, shard, roomId))
  if (!row) return null
  const version = roomVersions.get(row.version)
  if (!version) throw new Error(`${roomId} is of version ${row.version}, which is not known`)
  const read = yield* wait(loadRoom.parts(parts.sql, shard, row))
  if (!read.live && row.kind === 'joined') throw new Error(`${roomId} has no live chain`)
  const missing = new Map<string, number[]>()
  for (const { event_id: id, child_nid: child } of read.missing) {
    const eventId = unpackEventId(id, version)
    missing.set(eventId, [...(missing.get(eventId) ?? []), child])
  }
  const room = new Room({
    roomId,
    nid: row.room_nid,
    shard,
    version,
    kind: row.kind,
    generation: row.generation,
    extremities: new Map(),
    state: read.state,
    // A room that we are not in has no reading order.
    chain: read.live?.chain ?? 0,
    nextIndex: read.live?.next ?? 0,
    orderKey: read.live?.order_key ?? firstKey,
    servers: new Map(
      read.servers.map(({ server_nid: nid, name, joined }) => [nid, { name, joined }]),
    ),
    missing,
    auth: new AuthChains(read.nextAuthOrder, pendingOf(read.pending, version)),
  })
  room.create = yield* createOf(parts, room)
  yield* loadRedactions(parts, room)
  const nids = read.extremities.map((each) => each.event_nid)
  for (const known of (yield* parts.events.byNids(room, nids)).values()) {
    const before = yield* parts.states.load(room, known)
    const extremity: Extremity = { known, after: after(before, known) }
    room.extremities.set(known.nid, extremity)
  }
  room.lastSnapshot = parts.states.newest(room)
  return room
}

function* createOf(parts: Parts, room: Room): Task<Room['create']> {
  const numbers = yield* wait(parts.interner.intern({ stateKeys: [['m.room.create', '']] }))
  const nid = room.state.get(numbers.stateKey('m.room.create', ''))
  if (nid === undefined) return undefined
  return (yield* parts.events.byNids(room, [nid])).get(nid)!.event
}

/** What waits for a number among the auth chains. */
function pendingOf(rows: readonly PendingRow[], version: RoomVersion): AuthPending {
  const pending = new AuthPending()
  for (const row of rows) {
    const cites = row.cites.map((id) => unpackEventId(id, version))
    const orders = new Map<string, number>()
    for (const [index, id] of cites.entries())
      if (row.orders[index]! >= 0) orders.set(id, row.orders[index]!)
    pending.add(row.event_nid, unpackEventId(row.event_id, version), cites, orders)
  }
  return pending
}
