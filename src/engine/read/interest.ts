import { limitExceeded } from '#core/error.ts'
import { shardOf, shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as changes from '#store/room/read-changes.ts'
import * as userChanges from '#store/user/read-changes.ts'
import { News } from './news.ts'
import { type Place, Places } from './places.ts'
import { ReceiptPlaces } from './receipt-places.ts'
import { toRef } from './room-ref.ts'
import type { Vector } from './vector.ts'

/** Requests of one user that wait for news: far more than anybody has clients. */
const maxWaiters = 200

/** What has no position: who types, and who is there. */
export type Passing = 'typing' | 'presence'

/** How often each woke a user. */
export type Nudges = Readonly<Record<Passing, number>>

type Waiter = { wake: () => void; wants: readonly Passing[] }

/** Where a room last changed: in anything, in its state, in its members; in anything at earlier looks, latest first. */
type RoomChange = { position: number; state: number; members: number; before: readonly number[] }

/** So many earlier looks are remembered of a room: while a flood goes on there are several for each answer. */
const looksBefore = 4
const neverBefore: readonly number[] = [0]

type InRooms = {
  readonly rooms: readonly changes.ChangedRoom[]
  readonly members: readonly changes.MemberChange[]
  /** Who is in rooms whose whole state was replaced. */
  readonly stale: readonly { user_id: string }[]
}

const nothingInRooms: InRooms = { rooms: [], members: [], stale: [] }

/** What is kept of one user. */
export type Track = {
  readonly userId: string
  readonly shard: number
  /** Replaced, not changed, once somebody reads it. */
  places: Places
  readonly news: News
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
  readonly #changes = new Map<number, RoomChange>()
  #floor = new Float64Array(0)
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

  /** Whether a room has news of a kind after a position; undefined: it is too long ago to know. */
  roomChanged(
    shard: number,
    roomNid: number,
    since: number,
    what: 'position' | 'state' | 'members' = 'position',
  ): boolean | undefined {
    const last = this.#changes.get(roomNid)
    if (last !== undefined && last[what] > since) return true
    if (since >= this.#floor[shard]!) return false
    return undefined
  }

  /**
   * Whether a room surely had no news after `from` and up to `to`, a position of a vector that was looked at:
   * what the last look found is then behind it as a whole, or as a whole before.
   */
  roomRested(shard: number, roomNid: number, from: number, to: number): boolean {
    if (to <= from) return true
    if (from < this.#floor[shard]!) return false
    const last = this.#changes.get(roomNid)
    if (last === undefined || last.position <= from) return true
    if (last.position <= to) return false
    for (const position of last.before) if (position <= to) return position <= from
    // Of what is older nothing is known.
    return false
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
    const [{ rooms, members, stale }, rows, own] = await Promise.all([
      stretches.length ? this.#readRooms(sql, stretches) : nothingInRooms,
      wanted.length ? changes.membershipsAt(sql, wanted, to.rooms) : [],
      userStretches.length ? userChanges.changed(sql, userStretches) : [],
    ])
    return () => {
      const woken = new Set<Track>()
      for (const row of rooms) this.#changeRoom(row, woken)
      for (const row of members) {
        this.#move(row, woken)
        if (row.user_id) this.onMember(row.user_id, row.room_nid, row.membership === 'join')
      }
      for (const { user_id } of stale) {
        this.#drop(user_id)
        this.onMember(user_id)
      }
      for (const row of own) this.#takeOwn(row, woken)
      for (const track of woken) wake(track)
      this.#keep(wanted, rows, to)
      for (const load of loads) load.resolve(this.#tracks.get(load.userId)!)
      this.#trim(new Set(wanted))
      return members
    }
  }

  /** Most changes are no membership: then nobody has to be looked up. */
  async #readRooms(sql: Sql, stretches: readonly changes.Stretch[]): Promise<InRooms> {
    const rooms = await changes.changedRooms(sql, stretches)
    const members = rooms.some((row) => row.members !== null)
      ? await changes.memberChanges(sql, this.#serverName, stretches)
      : []
    const flipped = members.filter((row) => row.user_id === null).map((row) => row.room_nid)
    const stale = flipped.length ? await changes.localMembers(sql, this.#serverName, flipped) : []
    return { rooms, members, stale }
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
  isBehind({ news, places, shard }: Track, since: Vector): boolean {
    if (news.hasOwnAfter(since.users[shard]!) || news.hasListsAfter(since)) return true
    for (const { membership, roomNid } of places.of(news.receipts.after(since.users)))
      if (membership === 'join' && this.#receipts.changed(roomNid, since)) return true
    for (const place of places.of(news.rooms.after(since.rooms))) {
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

  #changeRoom(row: changes.ChangedRoom, woken: Set<Track>): void {
    const { shard, room_nid: roomNid, position } = row
    const before = this.#changes.get(roomNid)
    this.#changes.delete(roomNid)
    this.#changes.set(roomNid, {
      position,
      state: row.state ?? before?.state ?? 0,
      members: row.members ?? before?.members ?? 0,
      before: before ? [before.position, ...before.before].slice(0, looksBefore) : neverBefore,
    })
    const change = { roomNid, shard, position }
    for (const track of this.#watchers.get(roomNid) ?? []) {
      track.news.rooms.add(change)
      woken.add(track)
    }
    if (this.#changes.size <= this.#max) return
    const [oldest] = this.#changes
    if (!oldest) return
    this.#changes.delete(oldest[0])
    const its = shardOfNid(oldest[0])
    this.#floor[its] = Math.max(this.#floor[its]!, oldest[1].position)
  }

  #move(row: changes.MemberChange, woken: Set<Track>): void {
    const track = row.user_id === null ? undefined : this.#tracks.get(row.user_id)
    if (!track) return
    const room = toRef(row)
    const place = room && { ...room, ...standingOf(row.membership, row.event_nid) }
    const { shard, room_nid: roomNid, position } = row
    this.#put(track, roomNid, place && { ...place, position })
    // Who was not in the room was not told what else happened to it.
    const last = this.#changes.get(roomNid)?.position ?? 0
    track.news.rooms.add({ roomNid, shard, position: Math.max(position, last) })
    woken.add(track)
  }

  #takeOwn(row: userChanges.Changed, woken: Set<Track>): void {
    const { kind, shard, user_id: userId, position } = row
    const track = userId === null ? undefined : this.#tracks.get(userId)
    if (track) woken.add(track)
    if (kind !== 'list' && kind !== 'read') return track?.news.addOwn(kind, position)
    if (kind === 'list') track?.news.addList(shard, position)
    for (const roomNid of row.room_nids ?? []) {
      if (kind === 'read') this.#receipts.move(roomNid, shard, position)
      for (const watcher of this.#watchers.get(roomNid) ?? []) {
        // A device list concerns whoever is in a room with its user.
        if (kind === 'list') watcher.news.addList(shard, position)
        else watcher.news.receipts.add({ roomNid, shard, position })
        woken.add(watcher)
      }
    }
  }

  #put(track: Track, roomNid: number, place: Place | undefined): void {
    if (track.places.isShown) track.places = new Places(new Map(track.places.byRoom))
    const { byRoom } = track.places
    if (byRoom.delete(roomNid)) this.#places--
    if (place) {
      byRoom.set(roomNid, place)
      this.#places++
    }
    this.#watch(track, roomNid, place?.membership === 'join')
  }

  #watch(track: Track, roomNid: number, isJoined: boolean): void {
    const watchers = this.#watchers.get(roomNid)
    if (isJoined) {
      if (watchers) watchers.add(track)
      else this.#watchers.set(roomNid, new Set([track]))
    } else if (watchers?.delete(track) && watchers.size === 0) this.#watchers.delete(roomNid)
  }

  #keep(userIds: readonly string[], rows: readonly changes.MembershipRow[], at: Vector): void {
    for (const userId of userIds) {
      this.#drop(userId)
      const shard = shardOf(userId)
      this.#tracks.set(userId, {
        userId,
        shard,
        places: new Places(),
        news: new News(shard, at),
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
    for (const roomNid of track.places.byRoom.keys()) this.#watch(track, roomNid, false)
    this.#places -= track.places.byRoom.size
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
