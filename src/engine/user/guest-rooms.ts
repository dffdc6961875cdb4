import { parseJson } from '#core/canonical-json.ts'
import { guestsMayJoin } from '#core/content/m.room.guest_access.ts'
import { isObject } from '#core/json.ts'
import type { Landed, Rooms } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as guests from '#store/user/guests.ts'

export type GuestRoomsOptions = {
  sql: Sql
  rooms: Rooms
  onLanded: (landed: Landed) => void
  /** Told of a room that a guest could not be taken out of. */
  onFault: (error: unknown, roomId: string) => void
}

const everyMs = 60_000

/**
 * Takes guests out of rooms that are not open to guests any more: looks every minute, so that nothing
 * has to be remembered over a restart.
 *
 * Spec: client-server-api/#guest-access
 */
export class GuestRooms {
  readonly #options: GuestRoomsOptions
  readonly #timer: ReturnType<typeof setInterval>
  #running: Promise<void> | undefined
  #closed = false

  constructor(options: GuestRoomsOptions) {
    this.#options = options
    this.#timer = setInterval(() => void this.look(), everyMs)
    this.#timer.unref()
  }

  /** Looks once; resolves when whoever has to has left. */
  look(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return (this.#running ??= this.#look()
      .catch((error: unknown) => this.#options.onFault(error, ''))
      .finally(() => (this.#running = undefined)))
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#running
  }

  async #look(): Promise<void> {
    const { sql } = this.#options
    const closed = (await guests.rooms(sql)).filter(({ json }) => !isOpen(json))
    if (closed.length === 0) return
    const names = new Map(closed.map((room) => [room.room_nid, room.room_id]))
    const inside = await guests.inRooms(
      sql,
      closed.map(({ shard }) => shard),
      closed.map(({ room_nid }) => room_nid),
    )
    for (const { room_nid: roomNid, user_id: userId } of inside) {
      if (this.#closed) return
      await this.#leave(names.get(roomNid)!, userId)
    }
  }

  async #leave(roomId: string, userId: string): Promise<void> {
    const { rooms, onLanded, onFault } = this.#options
    try {
      const leave = { sender: userId, target: userId, membership: 'leave', content: '{}' } as const
      onLanded(await rooms.call('changeMembership', roomId, leave))
    } catch (error) {
      onFault(error, roomId)
    }
  }
}

function isOpen(json: string | null): boolean {
  const event = json === null ? undefined : parseJson(json)
  const content = isObject(event) ? event['content'] : undefined
  return guestsMayJoin(isObject(content) ? content : undefined)
}
