import { MatrixError, RemoteError } from '#core/error.ts'
import { shardOf } from '#core/shard.ts'
import type { Landed, RemainsStep, Rooms } from '#engine/worker/protocol.ts'
import type { Pool } from '#store/db.ts'
import { dropRoom } from '#store/event-index/drop.ts'
import { isUnsent } from '#store/federation/unsent.ts'
import * as listRooms from '#store/room/list-rooms.ts'
import * as networkRooms from '#store/user/network-rooms.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import * as roomAliases from '#store/user/room-aliases.ts'
import * as deletions from '#store/user/room-deletions.ts'

export type RoomDeletionsOptions = {
  sql: Pool
  rooms: Rooms
  serverName: string
  clock: () => number
  onLanded: (landed: Landed) => void
  /** Resolves when what is committed in a shard is indexed. */
  indexed: (shard: number) => Promise<void>
  onFault: (error: unknown, roomId: string) => void
  /** How long other servers are given to take what was sent last, before the room goes. */
  sendMs?: number
  /** Until it is looked again whether they have, and until what failed is tried again. */
  pauseMs?: number
}

/** What is wanted. Texts and flags as the request has them. */
export type DeletionOptions = { purge: boolean; force: boolean }

/** What was done up to now, in the form that tools read. */
export type DeletionOutcome = {
  kicked_users: string[]
  failed_to_kick_users: string[]
  local_aliases: string[]
  new_room_id: null
  error?: string
}

/** Users who leave at once, and rows of one statement. */
const maxAtOnce = 4
const dropAtOnce = 2_000
const keepMs = 7 * 24 * 3600 * 1000

/**
 * Deletes rooms in the background, one after the other: the users of this server leave, the aliases go,
 * and then the room, if that is wanted. What is to be done is durable, and is gone on with after a
 * restart: each step may be taken again.
 */
export class RoomDeletions {
  readonly #options: RoomDeletionsOptions
  readonly #waiters = new Map<string, PromiseWithResolvers<void>>()
  #running: Promise<void> | undefined
  #again = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #wakeSleeper: (() => void) | undefined
  #closed = false

  constructor(options: RoomDeletionsOptions) {
    this.#options = options
  }

  /** Asks for a room to be deleted; the ID under which it is found, undefined if that is under way already. */
  async begin(
    roomId: string,
    requestedBy: string,
    options: DeletionOptions,
  ): Promise<string | undefined> {
    const { sql, clock } = this.#options
    const deleteId = crypto.randomUUID()
    const added = await deletions.add(sql, {
      delete_id: deleteId,
      room_id: roomId,
      requested_by: requestedBy,
      requested_at: clock(),
      options: JSON.stringify(options),
    })
    if (!added) return undefined
    this.wake()
    return deleteId
  }

  /** Resolves when the users have left and the aliases are gone: what is left of the work concerns nobody. */
  async emptied(deleteId: string): Promise<void> {
    const row = await deletions.get(this.#options.sql, deleteId)
    if (!row || row.ended_at !== null || this.#closed) return
    let waiter = this.#waiters.get(deleteId)
    if (!waiter) this.#waiters.set(deleteId, (waiter = Promise.withResolvers()))
    this.wake()
    await waiter.promise
  }

  /** Looks for what is to be deleted. */
  wake(): void {
    if (this.#closed) return
    this.#again = true
    this.#running ??= this.#run().finally(() => (this.#running = undefined))
  }

  /** Resolves when everything has been tried. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }

  /** Ends after the step that is being taken. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#wakeSleeper?.()
    await this.#running
    for (const waiter of this.#waiters.values()) waiter.resolve()
    this.#waiters.clear()
  }

  async #run(): Promise<void> {
    const { sql, clock, onFault } = this.#options
    while (this.#again && !this.#closed) {
      this.#again = false
      try {
        await deletions.forget(sql, clock() - keepMs)
        for (const row of await deletions.underWay(sql)) {
          if (this.#closed) return
          await this.#delete(row)
        }
      } catch (error) {
        onFault(error, '')
        this.#later()
      }
    }
  }

  #later(): void {
    clearTimeout(this.#timer)
    if (this.#closed) return
    this.#timer = setTimeout(() => this.wake(), this.#options.pauseMs ?? 60_000)
    this.#timer.unref()
  }

  async #delete(row: deletions.Deletion): Promise<void> {
    const { sql, clock, onFault } = this.#options
    const { delete_id: deleteId, room_id: roomId } = row
    const outcome: DeletionOutcome = {
      kicked_users: [],
      failed_to_kick_users: [],
      local_aliases: [],
      new_room_id: null,
      ...(JSON.parse(row.outcome) as Partial<DeletionOutcome>),
    }
    const note = (status: deletions.DeletionStatus, ended: boolean) =>
      deletions.note(sql, deleteId, {
        status,
        outcome: JSON.stringify(outcome),
        ended_at: ended ? clock() : null,
      })
    try {
      await this.#empty(roomId, outcome, () => note('active', false))
      this.#waiters.get(deleteId)?.resolve()
      const options = JSON.parse(row.options) as DeletionOptions
      if (options.purge) {
        const failed = outcome.failed_to_kick_users.length > 0
        if (failed && !options.force) outcome.error = 'Users of this server could not be removed'
        else if (!(await this.#purge(roomId, options.force))) return
      }
      await note(outcome.error === undefined ? 'complete' : 'failed', true)
    } catch (error) {
      onFault(error, roomId)
      if (!(error instanceof MatrixError) || error.status >= 500) return this.#later()
      outcome.error = error.message
      await note('failed', true)
    } finally {
      this.#waiters.get(deleteId)?.resolve()
      this.#waiters.delete(deleteId)
    }
  }

  /** Takes the users of this server out of the room, and its names away. */
  async #empty(roomId: string, outcome: DeletionOutcome, note: () => Promise<void>): Promise<void> {
    const { sql, serverName } = this.#options
    await note()
    const aliases = await roomAliases.ofRoom(sql, roomId)
    outcome.local_aliases.push(...aliases)
    await roomAliases.removeOfRoom(sql, roomId)
    await publishedRooms.remove(sql, roomId)
    await networkRooms.removeAll(sql, roomId)
    const members = [...(await listRooms.localMembersOf(sql, serverName, roomId))]
    outcome.failed_to_kick_users = []
    const next = async (): Promise<void> => {
      for (let member; !this.#closed && (member = members.shift());) {
        const left = await this.#leave(roomId, member.user_id)
        outcome[left ? 'kicked_users' : 'failed_to_kick_users'].push(member.user_id)
      }
    }
    await Promise.all(Array.from({ length: maxAtOnce }, next))
    await note()
  }

  async #leave(roomId: string, userId: string): Promise<boolean> {
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
      if (!(error instanceof MatrixError || error instanceof RemoteError)) throw error
      onFault(error, roomId)
      return false
    }
  }

  /** Removes the room and then its rows; false if the server stops meanwhile. */
  async #purge(roomId: string, force: boolean): Promise<boolean> {
    const { sql, rooms, indexed } = this.#options
    if (!(await this.#sent(roomId))) return false
    const shard = shardOf(roomId)
    for (const roomNid of await rooms.call('removeRoom', roomId, force)) {
      // What the index has not yet seen it would add afterwards.
      await indexed(shard)
      for (let more = true; more && !this.#closed;)
        more = await dropRoom(sql, { shard, roomNid }, dropAtOnce)
      for (let step: RemainsStep | null = { phase: 'events', after: 0 }; step;) {
        if (this.#closed) return false
        step = await rooms.call('dropRemains', roomId, roomNid, step)
      }
    }
    return true
  }

  /** Other servers are to hear that our users left. Whoever cannot be reached for long does not. */
  async #sent(roomId: string): Promise<boolean> {
    const { sql, sendMs = 300_000, pauseMs = 1_000 } = this.#options
    for (let waited = 0; waited < sendMs && (await isUnsent(sql, roomId)); waited += pauseMs) {
      if (this.#closed) return false
      await this.#sleep(Math.min(pauseMs, 1_000))
    }
    return !this.#closed
  }

  async #sleep(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    this.#wakeSleeper = resolve
    await promise
    clearTimeout(timer)
    this.#wakeSleeper = undefined
  }
}
