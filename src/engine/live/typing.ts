import type { RoomRef } from '#engine/read/room-ref.ts'

export type TypingRoom = Pick<RoomRef, 'shard' | 'roomNid' | 'roomId'>

export type TypingOptions = {
  serverName: string
  clock: () => number
  /** Tells one life of the server from the next. */
  epoch: number
  /** The list of a room changed. */
  onChange: (roomNid: number, room: TypingRoom) => void
  /** Other servers are to be told of a user of ours. */
  onOwn: (room: TypingRoom, userId: string, typing: boolean) => void
  limits?: Partial<TypingLimits>
}

export type TypingLimits = {
  /** Users who type in one room at once; who comes later is not shown. */
  perRoom: number
  /** Rooms that are remembered, those where nobody types any more among them. */
  rooms: number
}

type Typist = { until: number; toldAt: number }
type Entry = { room: TypingRoom; users: Map<string, Typist>; at: number }

/** Not spec: the longest that somebody types without saying so again. */
const longestMs = 120_000
/** How long another server's word counts, and how often ours is repeated. */
const remoteMs = 60_000
const repeatMs = 30_000
const sweepEveryMs = 1_000

/**
 * Who types where. It lives in memory alone: positions of its own order the changes, and an epoch
 * tells tokens of an earlier life, whose rooms are then told to be quiet.
 *
 * Spec: client-server-api/#typing-notifications
 */
export class Typing {
  readonly epoch: number
  readonly #options: TypingOptions
  readonly #limits: TypingLimits
  /** By room number, the room that changed last at the end. */
  readonly #rooms = new Map<number, Entry>()
  #at = 0
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(options: TypingOptions) {
    this.#options = options
    this.#limits = { perRoom: 100, rooms: 10_000, ...options.limits }
    this.epoch = options.epoch
  }

  /** The position of the last change; 0 before the first. */
  get at(): number {
    return this.#at
  }

  /** Who types in a room; undefined if nothing is remembered of it. */
  find(roomNid: number): { at: number; userIds: string[] } | undefined {
    const entry = this.#rooms.get(roomNid)
    return entry && { at: entry.at, userIds: [...entry.users.keys()] }
  }

  /** A user of ours types for so long. */
  start(room: TypingRoom, userId: string, ms: number): void {
    const now = this.#options.clock()
    const until = now + Math.min(Math.max(ms, 0), longestMs)
    const typist = this.#put(room, userId, until)
    if (!typist || now - typist.toldAt < repeatMs) return
    typist.toldAt = now
    this.#options.onOwn(room, userId, true)
  }

  /** A user of another server types, as it says. */
  startRemote(room: TypingRoom, userId: string): void {
    this.#put(room, userId, this.#options.clock() + remoteMs)
  }

  stop(room: TypingRoom, userId: string): void {
    const entry = this.#rooms.get(room.roomNid)
    if (!entry?.users.delete(userId)) return
    this.#changed(entry)
    if (userId.endsWith(`:${this.#options.serverName}`))
      this.#options.onOwn(entry.room, userId, false)
  }

  /** Takes out whose time is over. */
  sweep(): void {
    const now = this.#options.clock()
    let typists = 0
    for (const { room, users } of this.#rooms.values())
      for (const [userId, { until }] of users)
        if (until <= now) this.stop(room, userId)
        else typists++
    if (typists === 0) this.close()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #put(room: TypingRoom, userId: string, until: number): Typist | undefined {
    const entry = this.#rooms.get(room.roomNid) ?? { room, users: new Map(), at: 0 }
    const known = entry.users.get(userId)
    if (known) {
      known.until = until
      return known
    }
    if (entry.users.size >= this.#limits.perRoom) return undefined
    const typist = { until, toldAt: -Infinity }
    entry.users.set(userId, typist)
    this.#changed(entry)
    if (!this.#timer) {
      this.#timer = setInterval(() => this.sweep(), sweepEveryMs)
      this.#timer.unref()
    }
    return typist
  }

  #changed(entry: Entry): void {
    const { roomNid } = entry.room
    entry.at = ++this.#at
    this.#rooms.delete(roomNid)
    this.#rooms.set(roomNid, entry)
    if (this.#rooms.size > this.#limits.rooms) {
      // Whoever was told that somebody types there is told otherwise when they ask next.
      const [oldest] = this.#rooms.keys()
      this.#rooms.delete(oldest!)
    }
    this.#options.onChange(roomNid, entry.room)
  }
}
