import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as inbound from '#store/federation/inbound.ts'

/** What may wait in the inbox. An event counts as one, and one more for each 4 KiB of its text. */
export type BacklogLimits = {
  /** Of one origin, of all rooms. */
  maxBacklog: number
  /** Of one room: from here on those who sent most of it are slowed down, */
  roomSlow: number
  /** then refused, */
  roomRefuse: number
  /** and then nobody's events of this room are taken. */
  roomMost: number
  /** How long an answer is held back at most. */
  maxPauseMs: number
}

/** What is to become of a transaction. */
export type Pressure = {
  /** Set if it is refused: for what its origin has in all rooms, or in one. */
  refusal?: 'backlog' | 'room_backlog'
  /** For how long its answer is held back, once it is durable. */
  pauseMs: number
  /** Rooms of which nothing is taken. */
  full: ReadonlySet<string>
}

type RoomBacklog = { weight: number; byOrigin: Map<string, number> }

const countEveryMs = 2_000
/** Statistics are lost in a crash: so often the inbox is counted whatever they say. */
const surelyEveryMs = 60_000
const maxCounted = 500_000
const nothingFull: ReadonlySet<string> = new Set()

/**
 * What waits in the inbox, of whom and in which rooms, counted in the background while there is traffic;
 * and who is slowed down for it.
 *
 * A room that is behind slows those down who have at least half of an equal share of what waits in it,
 * and nobody else: another server's event goes behind it, and its other rooms notice nothing. Slowed
 * down means that a transaction is taken whole, at once, and answered later: then what it brings for
 * other rooms does not wait, nothing comes twice, and the sender does not take us for broken, as many
 * do after a 429.
 */
export class Backlog {
  readonly #sql: Pool
  readonly #log: Log
  readonly #limits: BacklogLimits
  #byOrigin = new Map<string, number>()
  #rooms = new Map<string, RoomBacklog>()
  #countedAt = -Infinity
  #surelyAt = -Infinity
  #counting = false

  constructor(sql: Pool, log: Log, limits: BacklogLimits) {
    this.#sql = sql
    this.#log = log
    this.#limits = limits
  }

  gauges() {
    const { roomSlow } = this.#limits
    const rooms = [...this.#rooms.values()]
    return {
      backlog: this.#byOrigin.values().reduce((sum, weight) => sum + weight, 0),
      backlogOrigins: this.#byOrigin.size,
      roomsBehind: rooms.filter(({ weight }) => weight >= roomSlow).length,
      longestBacklog: Math.max(0, ...rooms.map(({ weight }) => weight)),
    }
  }

  /** Whether so much of a room waits that its rows may be thinned. */
  isBehind(roomId: string): boolean {
    return (this.#rooms.get(roomId)?.weight ?? 0) >= this.#limits.roomSlow
  }

  /** What a transaction of this origin with events of these rooms meets. */
  pressure(origin: string, roomIds: Iterable<string>): Pressure {
    this.#count()
    const { maxBacklog, roomSlow, roomRefuse, roomMost, maxPauseMs } = this.#limits
    if ((this.#byOrigin.get(origin) ?? 0) > maxBacklog)
      return { refusal: 'backlog', pauseMs: 0, full: nothingFull }
    let pauseMs = 0
    let full: Set<string> | undefined
    for (const roomId of roomIds) {
      const room = this.#rooms.get(roomId)
      if (!room || room.weight < roomSlow) continue
      const { weight, byOrigin } = room
      const share = weight / byOrigin.size
      if ((byOrigin.get(origin) ?? 0) >= share / 2) {
        if (weight >= roomRefuse) return { refusal: 'room_backlog', pauseMs: 0, full: nothingFull }
        const over = (weight - roomSlow) / (roomRefuse - roomSlow)
        pauseMs = Math.max(pauseMs, Math.ceil(over * maxPauseMs))
      } else if (weight >= roomMost) (full ??= new Set()).add(roomId)
    }
    return { pauseMs, full: full ?? nothingFull }
  }

  #count(): void {
    const now = performance.now()
    if (this.#counting || now - this.#countedAt < countEveryMs) return
    this.#counting = true
    this.#countedAt = now
    const { maxBacklog, roomSlow } = this.#limits
    const enough = Math.min(maxBacklog, roomSlow)
    const isDue = now - this.#surelyAt >= surelyEveryMs
    if (isDue) this.#surelyAt = now
    const last = this.#byOrigin.values().reduce((sum, weight) => sum + weight, 0)
    const least = isDue || last >= enough ? 0 : enough
    inbound
      .backlog(this.#sql, { least, most: maxCounted })
      .then((rows) => this.#note(rows))
      .catch((error: unknown) => this.#log.warn({ err: error }, 'the inbox was not counted'))
      .finally(() => {
        this.#counting = false
      })
  }

  #note(rows: readonly inbound.BacklogRow[]): void {
    const byOrigin = new Map<string, number>()
    const rooms = new Map<string, RoomBacklog>()
    for (const { room_id: roomId, origin, weight } of rows) {
      byOrigin.set(origin, (byOrigin.get(origin) ?? 0) + weight)
      const room = rooms.get(roomId) ?? { weight: 0, byOrigin: new Map<string, number>() }
      room.weight += weight
      room.byOrigin.set(origin, weight)
      rooms.set(roomId, room)
    }
    this.#byOrigin = byOrigin
    this.#rooms = rooms
  }
}
