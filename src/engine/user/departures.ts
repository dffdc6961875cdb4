import { MatrixError, RemoteError } from '#core/error.ts'
import type { Landed, Rooms } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as departures from '#store/user/departures.ts'

export type DeparturesOptions = {
  sql: Sql
  rooms: Rooms
  onLanded: (landed: Landed) => void
  /** Told of a room that could not be left. */
  onFault: (error: unknown, roomId: string) => void
  /** Until rooms that could not be left are tried again. */
  retryMs?: number
}

/** Rooms of a user that are left at once. */
const maxAtOnce = 4
const page = 50

/**
 * Leaves the rooms of deactivated users, in the background. Who has rooms left is durable, and is gone
 * on with after a restart.
 */
export class Departures {
  readonly #options: DeparturesOptions
  #running: Promise<void> | undefined
  #again = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #closed = false

  constructor(options: DeparturesOptions) {
    this.#options = options
  }

  /** Looks for users who have rooms to leave. */
  wake(): void {
    if (this.#closed) return
    this.#again = true
    this.#running ??= this.#run().finally(() => (this.#running = undefined))
  }

  /** Resolves when everything has been tried. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }

  /** Ends after the rooms that are being left. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#running
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false
      const left = await this.#pass().catch((error: unknown) => {
        this.#options.onFault(error, '')
        return 1
      })
      if (left > 0) this.#later()
    }
  }

  #later(): void {
    clearTimeout(this.#timer)
    if (this.#closed) return
    this.#timer = setTimeout(() => this.wake(), this.#options.retryMs ?? 60_000)
    this.#timer.unref()
  }

  /** Goes through all who have rooms to leave; answers how many still have. */
  async #pass(): Promise<number> {
    const { sql } = this.#options
    let unfinished = 0
    for (let after = ''; ;) {
      const rows = await departures.next(sql, after, page)
      if (rows.length === 0) return unfinished
      for (const { user_id: userId } of rows) {
        if (this.#closed) return unfinished
        if (await this.#leaveAll(userId)) await departures.remove(sql, userId)
        else unfinished++
        after = userId
      }
    }
  }

  /** Leaves all rooms of a user; answers whether none is left. */
  async #leaveAll(userId: string): Promise<boolean> {
    const rooms = [...(await departures.roomsOf(this.#options.sql, userId))]
    let all = true
    const leaveNext = async (): Promise<void> => {
      for (let next; (next = rooms.pop());) {
        if (this.#closed) all = false
        else if (!(await this.#leave(userId, next.room_id))) all = false
      }
    }
    await Promise.all(Array.from({ length: maxAtOnce }, leaveNext))
    return all
  }

  async #leave(userId: string, roomId: string): Promise<boolean> {
    const { rooms, onLanded, onFault } = this.#options
    try {
      onLanded(
        await rooms.call('changeMembership', roomId, {
          sender: userId,
          target: userId,
          membership: 'leave',
          content: '{}',
        }),
      )
      return true
    } catch (error) {
      onFault(error, roomId)
      // What the room refuses it refuses again; what fails otherwise may pass.
      return error instanceof MatrixError
        ? error.status < 500
        : error instanceof RemoteError && error.status === 403
    }
  }
}
