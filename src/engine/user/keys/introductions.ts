import { SHARDS } from '#core/shard.ts'
import { inTurns } from '#engine/user/keys/in-turns.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Pool } from '#store/db.ts'
import * as changes from '#store/room/read-changes.ts'
import * as introductions from '#store/user/introductions.ts'

type MembersListener = (moved: readonly changes.MemberChange[], rooms: Float64Array) => void

/** Who tells how memberships of local users change, and up to which positions it does not. */
type Members = { followMembers: (listener: MembersListener) => Float64Array }

export type IntroductionsOptions = {
  sql: Pool
  serverName: string
  users: Users
  positions: Members
  onFault: (error: unknown) => void
  /** Until it is tried again what failed. */
  retryMs?: number
}

type Step = { arrivals: introductions.Arrival[]; rooms: Float64Array }

/** Positions of a shard that are gone through at once after a start, or after a failure. */
const stretch = 5_000
/** Steps that wait; with more, what they say is read again. */
const maxSteps = 1_000
/** Positions, of all shards, after which the cursors are written down though nobody came. */
const saveAfter = 10_000

/**
 * Introduces the devices of local users to servers that they meet in rooms, by whatever way they came to
 * the room. It follows the room shards: what was not yet in the queues of those servers when this one
 * stopped, or could not be, is found behind the cursors.
 *
 * Spec: server-server-api/#device-management
 */
export class Introductions {
  readonly #options: IntroductionsOptions
  /** As they are in the database. */
  #saved = new Float64Array(SHARDS)
  #steps: Step[] = []
  /** Up to where everything is read from behind the cursors; what is later comes by steps. */
  #behind: Float64Array | undefined
  #working: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #closed = false

  constructor(options: IntroductionsOptions) {
    this.#options = options
  }

  /** Goes on where it ended. */
  start(): void {
    this.#behind = this.#options.positions.followMembers(this.#take)
    this.#wake()
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#working
  }

  /** Resolves when everything that was told of is done, or has failed. */
  async settled(): Promise<void> {
    while (this.#working) await this.#working
  }

  readonly #take: MembersListener = (moved, rooms) => {
    const last = this.#steps.at(-1)
    const arrivals = moved.flatMap(arrivalOf)
    if (last && last.arrivals.length === 0 && arrivals.length === 0) last.rooms = rooms
    else this.#steps.push({ arrivals, rooms })
    if (this.#steps.length > maxSteps) this.#readAgain()
    this.#wake()
  }

  /** What came so far is read from behind the cursors. */
  #readAgain(): void {
    const last = this.#steps.at(-1)
    if (last) this.#behind = last.rooms
    this.#steps = []
  }

  #wake(): void {
    if (this.#closed || this.#timer) return
    this.#working ??= this.#work()
      .catch((error: unknown) => {
        this.#options.onFault(error)
        this.#readAgain()
        this.#behind ??= this.#saved.slice()
        if (this.#closed) return
        this.#timer = setTimeout(() => {
          this.#timer = undefined
          this.#wake()
        }, this.#options.retryMs ?? 5_000)
        this.#timer.unref()
      })
      .finally(() => {
        this.#working = undefined
        // What came at the very end.
        if (this.#behind || this.#steps.length > 0) this.#wake()
      })
  }

  async #work(): Promise<void> {
    while (!this.#closed) {
      const upTo = this.#behind
      if (upTo) {
        await this.#catchUp(upTo)
        // While it was read, more may have been given up.
        if (this.#behind === upTo) this.#behind = undefined
        continue
      }
      const [step] = this.#steps
      if (!step) return
      await this.#introduce(step.arrivals)
      await this.#save(step.rooms, step.arrivals.length > 0)
      if (this.#steps[0] === step) this.#steps.shift()
    }
  }

  /** Everything from the cursors up to some positions. */
  async #catchUp(upTo: Float64Array): Promise<void> {
    const { sql, serverName } = this.#options
    for (const { shard, position } of await introductions.cursors(sql))
      this.#saved[shard] = position
    for (let left = true; left && !this.#closed;) {
      const next = this.#saved.map((position, shard) =>
        Math.max(position, Math.min(upTo[shard]!, position + stretch)),
      )
      const stretches = Array.from(next, (to, shard) => ({ shard, from: this.#saved[shard]!, to }))
      const open = stretches.filter(({ from, to }) => to > from)
      left = open.length > 0
      if (!left) return
      const moved = await changes.memberChanges(sql, serverName, open)
      await this.#introduce(moved.flatMap(arrivalOf))
      await this.#save(next, true)
    }
  }

  async #introduce(arrivals: readonly introductions.Arrival[]): Promise<void> {
    if (arrivals.length === 0) return
    const { sql, serverName, users } = this.#options
    const found = await introductions.toIntroduce(sql, serverName, arrivals)
    await inTurns(
      found.map(
        ({ user_id: userId, room_id: roomId }) =>
          () =>
            users.call('introduceDevices', userId, roomId),
      ),
    )
  }

  /** Moves the cursors; where nobody came, not each time. */
  async #save(rooms: Float64Array, now: boolean): Promise<void> {
    const moved = Array.from(rooms, (position, shard) => [shard, position] as const).filter(
      ([shard, position]) => position > this.#saved[shard]!,
    )
    const distance = moved.reduce((sum, [shard, to]) => sum + to - this.#saved[shard]!, 0)
    if (moved.length === 0 || (!now && distance < saveAfter)) return
    await introductions.advance(this.#options.sql, moved)
    for (const [shard, position] of moved) this.#saved[shard] = position
  }
}

/** A user who came, or the whole state of a room, with whoever came with it. */
function arrivalOf(row: changes.MemberChange): introductions.Arrival[] {
  const { shard, room_nid: roomNid, user_id: userId } = row
  const came = row.membership === 'join' && row.old_membership !== 'join'
  return userId === null || came ? [{ shard, roomNid, userId }] : []
}
