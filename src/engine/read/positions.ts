import type { Pool } from '#store/db.ts'
import type { Log } from '#src/log.ts'
import * as changes from '#store/room/read-changes.ts'
import { unavailable } from '#core/error.ts'
import { Interest, type Nudges, type OnMember, type Passing, type Track } from './interest.ts'
import type { Place } from './places.ts'
import type { News } from './news.ts'
import { type Vector, copyVector, newVector, reaches } from './vector.ts'

/** Between two looks while news keeps coming: under a flood a look costs as much as a commit. */
const minPauseMs = 3
/** The same while nobody waits: who comes to read has it looked first. */
const idlePauseMs = 250

/** Never changed once given. */
export type View = {
  readonly vector: Vector
  readonly places: readonly Place[]
  readonly byRoom: ReadonlyMap<number, Place>
  /** Where there may be something new after a vector; where there may be receipts. */
  readonly changed: (since: Vector) => readonly Place[]
  readonly read: (since: Vector) => readonly Place[]
  readonly news: News
  /** Another one means that something without a position may have changed since. */
  readonly nudges: Nudges
}

/** Told how memberships of local users changed, and up to which positions of the room shards. */
type MembersListener = (moved: readonly changes.MemberChange[], rooms: Float64Array) => void

type Pairs = readonly (readonly [shard: number, position: number])[]

export type PositionsOptions = {
  serverName: string
  log: Pick<Log, 'warn'>
  /** Milliseconds between looks that no signal asked for: what a lost signal costs. */
  lookEveryMs?: number
  /** Memberships and last positions kept in memory, at most, of users who do not wait. */
  maxRemembered?: number
}

/**
 * How far each shard is committed, as this process knows it, and the one reader that turns what is
 * new into wake-ups of local users.
 *
 * Two vectors: signals advance `#told`; a look at the database advances `#seen`, after the memory of
 * who is where has taken in everything up to it. Readers are only ever given `#seen`.
 */
export class Positions {
  readonly #sql: Pool
  readonly #log: Pick<Log, 'warn'>
  readonly #lookEveryMs: number
  readonly #interest: Interest
  readonly #told = newVector()
  readonly #seen = newVector()
  #onMembers: MembersListener = () => {}
  #looking: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  #closed = false
  readonly #onNews: (() => void)[] = []
  /** How many wait for news. */
  waiting = 0

  constructor(sql: Pool, options: PositionsOptions) {
    this.#sql = sql
    this.#log = options.log
    this.#lookEveryMs = options.lookEveryMs ?? 10_000
    this.#interest = new Interest(options.serverName, options.maxRemembered ?? 1_000_000)
  }

  /** Reads where every shard stands, and starts the periodic look. */
  async start(): Promise<void> {
    await this.#ask()
    this.#seen.rooms.set(this.#told.rooms)
    this.#seen.users.set(this.#told.users)
    this.#interest.startAt(this.#seen)
    this.#schedule()
  }

  /** Ends the periodic look; those who wait are let go. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    clearTimeout(this.#retry)
    this.#interest.wakeAll()
  }

  /** Whether the server stops: nobody waits any more. */
  get closed(): boolean {
    return this.#closed
  }

  /** Room shards are committed up to these positions. Older news is ignored. */
  advanceRooms(pairs: Pairs): void {
    this.#advance(this.#told.rooms, pairs)
  }

  /** User shards are committed up to these positions. Older news is ignored. */
  advanceUsers(pairs: Pairs): void {
    this.#advance(this.#told.users, pairs)
  }

  /** The last position of a room shard that was told of, looked at or not. */
  roomsAt(shard: number): number {
    return this.#told.rooms[shard]!
  }

  /** The last position of a user shard that was told of, looked at or not. */
  usersAt(shard: number): number {
    return this.#told.users[shard]!
  }

  /** The vector to answer for: it covers everything that was told before this call. */
  async settled(): Promise<Vector> {
    const wanted = copyVector(this.#told)
    // A look may have begun before the last signal; the one after it has everything.
    for (let round = 0; !reaches(this.#seen, wanted); round++) {
      if (round === 2 || this.#closed) throw unavailable('The database cannot be read')
      await this.#look()
    }
    return copyVector(this.#seen)
  }

  /** The vector to answer for, and where the user was in all their rooms at that vector. */
  async view(userId: string): Promise<View> {
    await this.settled()
    const track = this.#interest.find(userId) ?? (await this.#load(userId))
    const { places, news, nudges } = track
    const { byRoom } = places
    places.isShown = true
    return {
      vector: copyVector(this.#seen),
      get places() {
        return places.all
      },
      byRoom,
      changed: ({ rooms }) => places.of(news.rooms.after(rooms)),
      read: ({ users }) => places.of(news.receipts.after(users)),
      news,
      nudges,
    }
  }

  /** Whether a room has news after a position; undefined: it is too long ago to know. */
  roomChanged(shard: number, roomNid: number, since: number): boolean | undefined {
    return this.#interest.roomChanged(shard, roomNid, since)
  }

  /** The same of its state. */
  stateChanged(shard: number, roomNid: number, since: number): boolean | undefined {
    return this.#interest.roomChanged(shard, roomNid, since, 'state')
  }

  /** The same of memberships in it. */
  membersChanged(shard: number, roomNid: number, since: number): boolean | undefined {
    return this.#interest.roomChanged(shard, roomNid, since, 'members')
  }

  /** Whether a room surely had no news after a position and up to another, of a vector that was looked at. */
  roomRested(shard: number, roomNid: number, from: number, to: number): boolean {
    return this.#interest.roomRested(shard, roomNid, from, to)
  }

  /** Whether a room may have receipts after a vector. */
  receiptsChanged(roomNid: number, since: Vector): boolean {
    return this.#interest.receiptsChanged(roomNid, since)
  }

  /**
   * Resolves when something after `since` may concern the user, when `timeoutMs` is over, or when
   * the caller hangs up. It may wake for nothing; who wakes looks again. `nudges` are those of the view
   * that was answered for: of what has no position, and is waited for.
   */
  async waitFor(
    userId: string,
    since: Vector,
    signal: AbortSignal,
    timeoutMs: number,
    nudges: Partial<Nudges> = {},
  ): Promise<void> {
    const track = this.#interest.find(userId) ?? (await this.#load(userId))
    if (this.#closed || signal.aborted || timeoutMs <= 0) return
    const wants = Object.keys(nudges) as Passing[]
    if (wants.some((what) => track.nudges[what] !== nudges[what])) return
    if (this.#interest.isBehind(track, since)) return
    this.waiting++
    // While nobody waited, it may not have been looked at once.
    if (!reaches(this.#seen, this.#told)) this.#lookSoon()
    try {
      await this.#interest.wait(track, signal, timeoutMs, wants)
    } finally {
      this.waiting--
    }
  }

  /** Tells a listener whenever some shard is further than it was. */
  watchNews(onNews: () => void): void {
    this.#onNews.push(onNews)
  }

  /** Tells one listener of every membership of a local user that changes. */
  watchMembers(onMember: OnMember): void {
    this.#interest.onMember = onMember
  }

  /** Wakes who is in some rooms and waits for what has no position. Answers how many do. */
  nudge(roomNids: Iterable<number>, what: Passing): number {
    return this.#interest.nudge(roomNids, what)
  }

  /**
   * Tells of memberships from now on, in the order of their commits; answers up to which positions of the
   * room shards it will not. For one listener.
   */
  followMembers(listener: MembersListener): Float64Array {
    this.#onMembers = listener
    return this.#seen.rooms.slice()
  }

  #advance(vector: Float64Array, pairs: Pairs): void {
    let news = false
    for (const [shard, position] of pairs) {
      if (!(position > vector[shard]!)) continue
      vector[shard] = position
      news = true
    }
    if (!news) return
    if (this.waiting > 0) this.#lookSoon()
    else if (!this.#looking && this.#retry === undefined) this.#lookAfter(idlePauseMs)
    for (const tell of this.#onNews) tell()
  }

  #load(userId: string): Promise<Track> {
    const loaded = this.#interest.load(userId)
    this.#lookSoon()
    return loaded
  }

  #lookSoon(): void {
    if (this.#looking || this.#closed) return
    this.#look().catch((error: unknown) => {
      this.#log.warn({ err: error }, 'Could not read what is new')
      this.#lookAfter(500)
    })
  }

  #lookAfter(ms: number): void {
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#lookSoon()
    }, ms)
    this.#retry.unref()
  }

  /** One look at a time; what comes while it runs is covered by the next one. */
  #look(): Promise<void> {
    this.#looking ??= this.#takeIn().then(
      () => {
        this.#looking = undefined
        if (this.#interest.wantsLook) this.#lookSoon()
        else if (!reaches(this.#seen, this.#told))
          this.#lookAfter(this.waiting > 0 ? minPauseMs : idlePauseMs)
      },
      (error: unknown) => {
        this.#looking = undefined
        throw error
      },
    )
    return this.#looking
  }

  async #takeIn(): Promise<void> {
    const upTo = copyVector(this.#told)
    const apply = await this.#interest.prepare(this.#sql, this.#seen, upTo)
    // At once: whoever reads the memory reads the vector that it is true for.
    this.#seen.rooms.set(upTo.rooms)
    this.#seen.users.set(upTo.users)
    this.#onMembers(apply(), upTo.rooms)
  }

  #schedule(): void {
    if (this.#closed) return
    this.#timer = setTimeout(() => {
      this.#ask()
        .then(() => this.#lookSoon())
        .catch((error: unknown) => this.#log.warn({ err: error }, 'Could not read positions'))
        .finally(() => this.#schedule())
    }, this.#lookEveryMs)
    this.#timer.unref()
  }

  async #ask(): Promise<void> {
    const [rooms, users] = await Promise.all([
      changes.roomPositions(this.#sql),
      changes.userPositions(this.#sql),
    ])
    for (const { shard, position } of rooms)
      this.#told.rooms[shard] = Math.max(this.#told.rooms[shard]!, position)
    for (const { shard, position } of users)
      this.#told.users[shard] = Math.max(this.#told.users[shard]!, position)
  }
}
