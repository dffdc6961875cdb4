import { limitExceeded } from '#core/error.ts'
import { SHARDS, shardOf, shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as changes from '#store/room/read-changes.ts'
import * as receipts from '#store/user/receipts.ts'
import * as userChanges from '#store/user/read-changes.ts'
import { ReceiptPlaces } from './receipt-places.ts'
import { type RoomRef, toRef } from './room-ref.ts'
import type { Vector } from './vector.ts'

/** One local user's place in one room, as of the vector it was given for. Never changed, replaced. */
export type Place = RoomRef & {
  /** A membership that a resolution took away, with no event in its place, is a leave. */
  readonly membership: string
  readonly eventNid: number | undefined
  /** Where this membership became current. */
  readonly position: number
}

/** Requests of one user that wait for news: far more than anybody has clients. */
const maxWaiters = 200

/** What has no position: who types, and who is there. */
export type Passing = 'typing' | 'presence'

/** How often each woke a user. */
export type Nudges = Readonly<Record<Passing, number>>

type Waiter = { wake: () => void; wants: readonly Passing[] }

/** What is kept of one user. */
export type Track = {
  readonly userId: string
  readonly shard: number
  readonly places: Map<number, Place>
  readonly waiters: Set<Waiter>
  /** Counts what woke the user that no position says. */
  nudges: Nudges
}

/** Told of each membership of a local user that changed; without a room, of any of them. */
export type OnMember = (userId: string, roomNid?: number, isJoined?: boolean) => void

type Load = { userId: string; resolve: (track: Track) => void; reject: (error: unknown) => void }

/**
 * Who is where, and when each room last changed: kept in memory for users who sync, and true for one
 * vector at a time. Positions moves it from vector to vector; all that is slow happens in `prepare`,
 * and what that answers applies it at once.
 *
 * Bounded: users who do not wait are forgotten, longest unused first; of rooms only the latest
 * changes are kept, and `#floor` says from where on nothing is missing.
 */
export class Interest {
  readonly #serverName: string
  readonly #max: number
  /** Called where the step is taken in, before anybody who waits goes on. */
  onMember: OnMember = () => {}
  readonly #tracks = new Map<string, Track>()
  readonly #watchers = new Map<number, Set<Track>>()
  readonly #lastPosition = new Map<number, number>()
  #floor = new Float64Array(0)
  /** Of each user shard, where a device list last changed: who it concerns is found out by a look. */
  readonly #listsAt = new Float64Array(SHARDS)
  readonly #receipts: ReceiptPlaces
  #places = 0
  #loads: Load[] = []
  #nudges = 0

  constructor(serverName: string, max: number) {
    this.#serverName = serverName
    this.#max = max
    this.#receipts = new ReceiptPlaces(max)
  }

  /** Before anything is taken in: nothing after this vector has been missed. */
  startAt(vector: Vector): void {
    this.#floor = vector.rooms.slice()
    this.#receipts.startAt(vector)
  }

  /** The user's places if they are in memory. */
  find(userId: string): Track | undefined {
    const track = this.#tracks.get(userId)
    if (!track) return undefined
    this.#tracks.delete(userId)
    this.#tracks.set(userId, track)
    return track
  }

  /** Asks for a user to be read with the next look. */
  load(userId: string): Promise<Track> {
    const { promise, resolve, reject } = Promise.withResolvers<Track>()
    this.#loads.push({ userId, resolve, reject })
    return promise
  }

  get wantsLook(): boolean {
    return this.#loads.length > 0
  }

  /** Whether a room has news after a position; undefined: it is too long ago to know. */
  roomChanged(shard: number, roomNid: number, since: number): boolean | undefined {
    const last = this.#lastPosition.get(roomNid)
    if (last !== undefined && last > since) return true
    if (since >= this.#floor[shard]!) return false
    return undefined
  }

  /** Whether a room may have receipts after a vector. */
  receiptsChanged(roomNid: number, since: Vector): boolean {
    return this.#receipts.changed(roomNid, since)
  }

  /**
   * Reads what happened from one vector to the next, and answers the step that takes it in; that answers
   * how memberships of local users changed.
   */
  async prepare(
    sql: Sql,
    from: Vector,
    to: Vector,
  ): Promise<() => readonly changes.MemberChange[]> {
    const loads = this.#loads
    this.#loads = []
    try {
      return await this.#read(sql, from, to, loads)
    } catch (error) {
      for (const load of loads) load.reject(error)
      throw error
    }
  }

  async #read(
    sql: Sql,
    from: Vector,
    to: Vector,
    loads: Load[],
  ): Promise<() => readonly changes.MemberChange[]> {
    const stretches = stretchesOf(from.rooms, to.rooms)
    const wanted = [...new Set(loads.map((load) => load.userId))]
    const userStretches = stretchesOf(from.users, to.users)
    const [rooms, members, rows, users, lists, read] = await Promise.all([
      stretches.length ? changes.changedRooms(sql, stretches) : [],
      stretches.length ? changes.memberChanges(sql, this.#serverName, stretches) : [],
      wanted.length ? changes.membershipsAt(sql, wanted, to.rooms) : [],
      userStretches.length ? userChanges.changedUsers(sql, userStretches) : [],
      userStretches.length ? userChanges.changedLists(sql, userStretches) : [],
      userStretches.length ? receipts.changedRooms(sql, userStretches) : [],
    ])
    const flipped = members.filter((row) => row.user_id === null).map((row) => row.room_nid)
    const stale = flipped.length ? await changes.localMembers(sql, this.#serverName, flipped) : []
    return () => {
      const woken = new Set<Track>()
      for (const { room_nid, position } of rooms) {
        this.#remember(room_nid, position)
        for (const track of this.#watchers.get(room_nid) ?? []) woken.add(track)
      }
      for (const row of members) {
        this.#move(row, woken)
        if (row.user_id) this.onMember(row.user_id, row.room_nid, row.membership === 'join')
      }
      for (const { user_id } of stale) {
        this.#drop(user_id)
        this.onMember(user_id)
      }
      for (const { user_id } of users) {
        const track = this.#tracks.get(user_id)
        if (track) woken.add(track)
      }
      for (const list of lists) this.#moveList(list, woken)
      for (const row of read) {
        this.#receipts.move(row.room_nid, row.shard, row.position)
        for (const track of this.#watchers.get(row.room_nid) ?? []) woken.add(track)
      }
      for (const track of woken) wake(track)
      this.#keep(wanted, rows, to)
      for (const load of loads) load.resolve(this.#tracks.get(load.userId)!)
      this.#trim(new Set(wanted))
      return members
    }
  }

  /** Waits for something that may concern the user; the track must be of the vector last applied. */
  wait(
    track: Track,
    signal: AbortSignal,
    timeoutMs: number,
    wants: readonly Passing[],
  ): Promise<void> {
    if (this.#tracks.get(track.userId) !== track) return Promise.resolve()
    if (track.waiters.size >= maxWaiters) throw limitExceeded(1_000)
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiter: Waiter = { wake: resolve, wants }
    const timer = setTimeout(resolve, timeoutMs)
    signal.addEventListener('abort', waiter.wake, { once: true })
    track.waiters.add(waiter)
    return promise.finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', waiter.wake)
      track.waiters.delete(waiter)
    })
  }

  /** Whether something after `since` may concern the user already. */
  isBehind(track: Track, since: Vector, seen: Vector): boolean {
    if (seen.users[track.shard]! > since.users[track.shard]!) return true
    if (this.#listsAt.some((position, shard) => position > since.users[shard]!)) return true
    if (this.#receipts.anyAfter(since))
      for (const { membership, roomNid } of track.places.values())
        if (membership === 'join' && this.#receipts.changed(roomNid, since)) return true
    if (seen.rooms.every((position, shard) => position <= since.rooms[shard]!)) return false
    for (const place of track.places.values()) {
      const from = since.rooms[place.shard]!
      if (place.position > from) return true
      if (place.membership !== 'join') continue
      if (this.roomChanged(place.shard, place.roomNid, from) !== false) return true
    }
    return false
  }

  /** Wakes who is in some rooms and waits for what has no position. Answers how many do. */
  nudge(roomNids: Iterable<number>, what: Passing): number {
    const nudge = ++this.#nudges
    let woken = 0
    for (const roomNid of roomNids)
      for (const track of this.#watchers.get(roomNid) ?? []) {
        if (track.nudges[what] === nudge) continue
        track.nudges = { ...track.nudges, [what]: nudge }
        for (const waiter of track.waiters) {
          if (!waiter.wants.includes(what)) continue
          woken++
          waiter.wake()
        }
      }
    return woken
  }

  wakeAll(): void {
    for (const track of this.#tracks.values()) wake(track)
  }

  #remember(roomNid: number, position: number): void {
    this.#lastPosition.delete(roomNid)
    this.#lastPosition.set(roomNid, position)
    if (this.#lastPosition.size <= this.#max) return
    const [oldest] = this.#lastPosition
    if (!oldest) return
    this.#lastPosition.delete(oldest[0])
    const shard = shardOfNid(oldest[0])
    this.#floor[shard] = Math.max(this.#floor[shard]!, oldest[1])
  }

  #move(row: changes.MemberChange, woken: Set<Track>): void {
    const track = row.user_id === null ? undefined : this.#tracks.get(row.user_id)
    if (!track) return
    const room = toRef(row)
    const place = room && { ...room, ...standingOf(row.membership, row.event_nid) }
    this.#put(track, row.room_nid, place && { ...place, position: row.position })
    woken.add(track)
  }

  /** A device list concerns its user, and whoever is in a room with them. */
  #moveList({ shard, user_id, position, room_nids }: userChanges.ChangedList, woken: Set<Track>) {
    this.#listsAt[shard] = Math.max(this.#listsAt[shard]!, position)
    const own = this.#tracks.get(user_id)
    if (own) woken.add(own)
    for (const roomNid of room_nids)
      for (const track of this.#watchers.get(roomNid) ?? []) woken.add(track)
  }

  #put(track: Track, roomNid: number, place: Place | undefined): void {
    if (track.places.delete(roomNid)) this.#places--
    if (place) {
      track.places.set(roomNid, place)
      this.#places++
    }
    const watchers = this.#watchers.get(roomNid)
    if (place?.membership === 'join') {
      if (watchers) watchers.add(track)
      else this.#watchers.set(roomNid, new Set([track]))
    } else if (watchers?.delete(track) && watchers.size === 0) this.#watchers.delete(roomNid)
  }

  #keep(userIds: readonly string[], rows: readonly changes.MembershipRow[], at: Vector): void {
    for (const userId of userIds) {
      this.#drop(userId)
      this.#tracks.set(userId, {
        userId,
        shard: shardOf(userId),
        places: new Map(),
        waiters: new Set(),
        nudges: { typing: this.#nudges, presence: this.#nudges },
      })
    }
    for (const row of rows) {
      const track = this.#tracks.get(row.user_id)!
      const standing = row.newer
        ? standingOf(row.old_membership, row.old_nid)
        : standingOf(row.membership, row.event_nid)
      const room = toRef(row)
      if (!room) continue
      // Where an undone membership began is not read: as late as possible, so that who asks for news
      // compares it with what was before.
      const position = row.newer ? at.rooms[room.shard]! : row.position
      this.#put(track, room.roomNid, { ...room, ...standing, position })
    }
  }

  /** Forgets a user; those who wait look again, and have the user read anew. */
  #drop(userId: string): void {
    const track = this.#tracks.get(userId)
    if (!track) return
    for (const roomNid of track.places.keys()) this.#put(track, roomNid, undefined)
    this.#tracks.delete(userId)
    wake(track)
  }

  #trim(inUse: ReadonlySet<string>): void {
    if (this.#places <= this.#max) return
    for (const track of this.#tracks.values()) {
      if (this.#places <= this.#max) return
      if (track.waiters.size === 0 && !inUse.has(track.userId)) this.#drop(track.userId)
    }
  }
}

/** What a user is to a room whose state has this member event for them, or none. */
const standingOf = (membership: string | null, eventNid: number | null) =>
  membership === null || eventNid === null
    ? { membership: 'leave', eventNid: undefined }
    : { membership, eventNid }

function wake(track: Track): void {
  for (const waiter of track.waiters) waiter.wake()
}

function stretchesOf(from: Float64Array, to: Float64Array): changes.Stretch[] {
  const stretches: changes.Stretch[] = []
  for (let shard = 0; shard < to.length; shard++)
    if (to[shard]! > from[shard]!) stretches.push({ shard, from: from[shard]!, to: to[shard]! })
  return stretches
}
