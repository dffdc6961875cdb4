import { LRUCache } from 'lru-cache'
import { MatrixError } from '#core/error.ts'
import type { TypingPoint } from '#engine/read/sync-token.ts'
import type { Vector } from '#engine/read/vector.ts'
import { type Memory, SentMembers } from '#engine/sync/sent-members.ts'
import type { RequiredState } from './required-state.ts'

/** What a client was told of one room. Never changed, replaced. */
export type SentRoom = {
  /** Up to here, in the room's shard. */
  readonly at: number
  /** What the user was then, and by which event. */
  readonly membership: string
  readonly eventNid: number | undefined
  /** The longest timeline that it was told with. */
  readonly limit: number
  /** The state that the client has, as of then. */
  readonly required: RequiredState
  /** Counts of what is unread, in one text. */
  readonly counts: string
}

/** What an answer told that is no room's. */
export type Point = {
  readonly vector: Vector
  readonly typing: TypingPoint | undefined
  /** How long each list was. */
  readonly counts: ReadonlyMap<string, number>
  /** The rooms for which extensions were told, by number. */
  readonly scopes: Readonly<Record<'accountData' | 'receipts' | 'typing', ReadonlySet<number>>>
}

/** What an answer adds to what a client was told. */
export type Told = Point & { readonly rooms: ReadonlyMap<number, SentRoom> }

/** One request's view of its connection. */
export type Link = {
  /** What the client has; undefined at its first request. */
  readonly point: Point | undefined
  /** Which members the client was told of, for one round. */
  members(): Memory
  room(roomNid: number): SentRoom | undefined
  /** Keeps what an answer tells, and answers its token. */
  keep(told: Told, members: Memory): string
}

type Connection = {
  /** The token that the client holds, and what it has been told up to there. */
  pos: string | undefined
  point: Point | undefined
  readonly rooms: Map<number, SentRoom>
  /** Answers on their way, by their tokens: any of them may be the one that arrives. */
  readonly pending: Map<string, Told>
}

type Device = Map<string, Connection>

/** Connections of one device; clients have two or three. */
const maxConnections = 8
/** Answers of which it is not known whether they arrived, of one connection. */
const maxPending = 4
/** Rooms kept in mind, of all connections. */
const maxRooms = 1_000_000
const week = 7 * 24 * 3_600_000

/** The client begins anew: this costs it one small answer. */
const unknownPos = () =>
  new MatrixError(400, 'M_UNKNOWN_POS', 'The connection is not known any more; begin a new one')

/**
 * What the clients of sliding sync were told. In memory only, and bounded: who is forgotten begins
 * anew. A request may be repeated, since what an answer tells counts only when the client comes with
 * its token.
 *
 * MSC4186: "Connections"
 */
export class SlidingConnections {
  readonly #devices: LRUCache<string, Device>
  readonly #members = new SentMembers()
  /** Tokens of another life of the server are not known. */
  readonly #epoch = crypto.randomUUID().slice(0, 8)
  #count = 0

  constructor(limits: { rooms?: number } = {}) {
    const maxSize = limits.rooms ?? maxRooms
    this.#devices = new LRUCache({ maxSize, ttl: week, updateAgeOnGet: true })
  }

  /** The connection of a request; who holds a token that is not of this connection is refused. */
  open(userId: string, deviceId: string, connId: string, pos: string | undefined): Link {
    const key = JSON.stringify([userId, deviceId])
    const found = pos === undefined ? undefined : this.#devices.get(key)?.get(connId)
    if (pos !== undefined && !found) throw unknownPos()
    const connection = found ?? { pos, point: undefined, rooms: new Map(), pending: new Map() }
    if (pos !== undefined) advance(connection, pos)
    return {
      point: connection.point,
      members: () => this.#members.begin(userId, JSON.stringify([deviceId, connId]), pos),
      room: (roomNid) => connection.rooms.get(roomNid),
      keep: (told, members) => {
        // Another request went on from a later answer meanwhile, or began anew: this one is out of date.
        const current = this.#devices.get(key)?.get(connId)
        if (pos !== undefined && (connection !== current || connection.pos !== pos))
          throw unknownPos()
        const next = `${this.#epoch}.${++this.#count}`
        connection.pending.set(next, told)
        for (const oldest of connection.pending.keys()) {
          if (connection.pending.size <= maxPending) break
          connection.pending.delete(oldest)
        }
        members.keep(next)
        this.#put(key, connId, connection)
        return next
      },
    }
  }

  #put(key: string, connId: string, connection: Connection): void {
    const device: Device = this.#devices.get(key) ?? new Map<string, Connection>()
    device.delete(connId)
    device.set(connId, connection)
    for (const oldest of device.keys()) {
      if (device.size <= maxConnections) break
      device.delete(oldest)
    }
    let size = 1
    for (const { rooms, pending } of device.values()) {
      size += 1 + rooms.size
      for (const told of pending.values()) size += 1 + told.rooms.size
    }
    this.#devices.set(key, device, { size })
  }
}

/** The client has got the answer with this token: nothing before it counts any more. */
function advance(connection: Connection, pos: string): void {
  if (connection.pos === pos) return
  const told = connection.pending.get(pos)
  if (!told) throw unknownPos()
  connection.pos = pos
  const { rooms, ...point } = told
  connection.point = point
  for (const [roomNid, sent] of rooms) connection.rooms.set(roomNid, sent)
  connection.pending.clear()
}
