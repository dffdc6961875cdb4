import { LRUCache } from 'lru-cache'
import { domainOf } from '#core/ids.ts'
import type { Follows, Places } from '#engine/appservice/follows.ts'
import * as follow from '#store/appservice/follow.ts'
import type { Sql } from '#store/db.ts'

type Room = { shard: number; room_nid: number }

/** Rooms times application services that are kept in memory. */
const maxKept = 500_000
/** Rooms whose members are read with one statement. */
const maxAtOnce = 500
/** What another process may have changed is read again after this time. */
const keepMs = 3_600_000

/**
 * How many users of each application service are joined to which room. Kept as of the end of the last batch
 * that had something of the room; the next one counts on from there, move by move, so that each event finds
 * those who were in the room with it.
 */
export class RoomGuests {
  readonly #sql: Sql
  readonly #serverName: string
  readonly #follows: Follows
  readonly #kept = new LRUCache<number, Kept>({
    maxSize: maxKept,
    sizeCalculation: ({ counts }) => 1 + counts.size,
    ttl: keepMs,
  })

  /** What was begun before all was forgotten is not kept. */
  #age = 0
  /** How far the shards of rooms are followed; undefined: not at all yet. */
  readonly #followedTo: (shard: number) => number | undefined

  constructor(
    sql: Sql,
    serverName: string,
    follows: Follows,
    followedTo: (shard: number) => number | undefined,
  ) {
    this.#sql = sql
    this.#serverName = serverName
    this.#follows = follows
    this.#followedTo = followedTo
  }

  /** Who is in some rooms by now, more or less: of what is not in the order of events. */
  async now(rooms: readonly Room[]): Promise<(roomNid: number) => Places> {
    const counts = new Map<number, Counts>()
    const missing = rooms.filter(({ room_nid: nid }) => {
      const kept = this.#kept.get(nid)
      if (kept) counts.set(nid, kept.counts)
      return !kept
    })
    // From here on: the follower goes on meanwhile.
    const from = new Map(missing.map(({ shard }) => [shard, this.#followedTo(shard)]))
    const age = this.#age
    const lists = await this.#read(missing)
    const moves = await this.#moves(missing, (shard) => from.get(shard) ?? 0)
    for (const { room_nid: nid, shard } of missing) {
      const users = lists.get(nid)!
      counts.set(nid, countsOf(users, this.#follows))
      const own = this.#ownOf(moves.get(nid))
      const upTo = from.get(shard)
      if (upTo === undefined || isReplacedIn(own) || age !== this.#age) continue
      this.#kept.set(nid, { counts: countsOf(before(users, own), this.#follows), upTo })
    }
    return (nid) => [...(counts.get(nid)?.keys() ?? [])]
  }

  /**
   * The rooms of a batch that begins after `low` of each shard and ends at `high`. Asked for positions in
   * their order; `end` keeps what came of it.
   */
  async roll(
    rooms: readonly Room[],
    lowOf: (shard: number) => number,
    highOf: (shard: number) => number,
  ): Promise<Rolling> {
    const age = this.#age
    const missing = rooms.filter(({ room_nid: nid }) => !this.#kept.has(nid))
    const lists = await this.#read(missing)
    // After the lists: a move that they do not show is among these.
    const moves = await this.#moves(rooms, lowOf)
    const rolling = new Map<number, RoomRoll>()
    for (const room of rooms) {
      const own = moves.get(room.room_nid) ?? []
      rolling.set(room.room_nid, await this.#begin(room, own, lists, highOf(room.shard)))
    }
    return {
      at: (nid, position) => rolling.get(nid)?.at(position) ?? [],
      came: () =>
        rooms.flatMap((room) => {
          const places = rolling.get(room.room_nid)!.came
          return places.length > 0 ? [{ ...room, places }] : []
        }),
      end: () => {
        for (const [nid, { counts, upTo, keeps }] of rolling)
          if (keeps && age === this.#age) this.#kept.set(nid, { counts, upTo })
          else this.#kept.delete(nid)
      },
    }
  }

  /** What is kept may be wrong: a batch was not written, or somebody else is sent something, too. */
  forget(): void {
    this.#age++
    this.#kept.clear()
  }

  async #begin(
    room: Room,
    moves: readonly follow.Move[],
    lists: ReadonlyMap<number, ReadonlySet<string>>,
    upTo: number,
  ): Promise<RoomRoll> {
    const { room_nid: nid } = room
    const own = this.#ownOf(moves)
    // A whole state that is replaced is no sum of moves: who is there now is as good as who was then.
    const isReplaced = isReplacedIn(own)
    const kept = isReplaced ? undefined : this.#kept.get(nid)
    if (kept) {
      const steps = own.filter(({ position }) => position <= upTo)
      return new RoomRoll(new Map(kept.counts), steps, this.#follows, upTo, true)
    }
    const users = lists.get(nid) ?? (await this.#read([room])).get(nid)!
    if (isReplaced) {
      const counts = countsOf(users, this.#follows)
      const were = this.#kept.peek(nid)?.counts
      const came = [...counts.keys()].filter((place) => !were?.has(place))
      return new RoomRoll(counts, [], this.#follows, upTo, false, came)
    }
    const steps = own.filter(({ position }) => position <= upTo)
    return new RoomRoll(
      countsOf(before(users, own), this.#follows),
      steps,
      this.#follows,
      upTo,
      true,
    )
  }

  /** Users of ours in some rooms, those that are some application service's. */
  async #read(rooms: readonly Room[]): Promise<Map<number, Set<string>>> {
    const lists = new Map(rooms.map(({ room_nid: nid }) => [nid, new Set<string>()]))
    for (let at = 0; at < rooms.length; at += maxAtOnce)
      for (const row of await follow.members(
        this.#sql,
        this.#serverName,
        rooms.slice(at, at + maxAtOnce),
      ))
        if (this.#follows.ofUser(row.user_id).length > 0) lists.get(row.room_nid)!.add(row.user_id)
    return lists
  }

  /** What became of the members of some rooms since they were kept, or else since a position of their shard. */
  async #moves(rooms: readonly Room[], lowOf: (shard: number) => number) {
    if (rooms.length === 0) return new Map<number, follow.Move[]>()
    const stretches = rooms.map((room) => ({
      ...room,
      low: this.#kept.peek(room.room_nid)?.upTo ?? lowOf(room.shard),
    }))
    return Map.groupBy(await follow.moves(this.#sql, stretches), (move) => move.room_nid)
  }

  #ownOf(moves: readonly follow.Move[] = []): readonly follow.Move[] {
    return moves.filter(({ user_id: id }) => id === null || domainOf(id) === this.#serverName)
  }
}

export type Rolling = {
  /** Whose users are joined to a room when its event of this position is visible. */
  at: (roomNid: number, position: number) => Places
  /** In which rooms were no users of whom, until one came. */
  came: () => (Room & { places: Places })[]
  end: () => void
}

/** Whether the whole state was replaced. */
const isReplacedIn = (moves: readonly follow.Move[]): boolean =>
  moves.some(({ user_id: id }) => id === null)

/** How many users, by place. */
type Counts = Map<number, number>
type Kept = { readonly counts: Counts; readonly upTo: number }

/** Undoes moves: the first one of each user says what they were before. */
function before(users: ReadonlySet<string>, moves: readonly follow.Move[]): ReadonlySet<string> {
  if (moves.length === 0) return users
  const then = new Set(users)
  const seen = new Set<string>()
  for (const { user_id: id, old_membership: old } of moves) {
    if (id === null || seen.has(id)) continue
    seen.add(id)
    if (old === 'join') then.add(id)
    else then.delete(id)
  }
  return then
}

function countsOf(users: Iterable<string>, follows: Follows): Counts {
  const counts: Counts = new Map()
  for (const id of users) change(counts, follows.ofUser(id), 1)
  return counts
}

function change(counts: Counts, places: Places, by: 1 | -1): void {
  for (const place of places) {
    const count = (counts.get(place) ?? 0) + by
    if (count > 0) counts.set(place, count)
    else counts.delete(place)
  }
}

/** One room through a batch. */
class RoomRoll {
  readonly upTo: number
  readonly keeps: boolean
  readonly #counts: Counts
  readonly #moves: readonly follow.Move[]
  readonly #follows: Follows
  readonly #came: Set<number>
  #next = 0
  #places: Places | undefined

  constructor(
    counts: Counts,
    moves: readonly follow.Move[],
    follows: Follows,
    upTo: number,
    keeps: boolean,
    came: Places = [],
  ) {
    this.#counts = counts
    this.#moves = moves
    this.#follows = follows
    this.upTo = upTo
    this.keeps = keeps
    this.#came = new Set(came)
  }

  at(position: number): Places {
    for (let move = this.#moves[this.#next]; move; move = this.#moves[this.#next]) {
      if (move.position > position) break
      this.#take(move)
    }
    return (this.#places ??= [...this.#counts.keys()])
  }

  /** At the end of the batch. */
  get counts(): Counts {
    this.at(this.upTo)
    return this.#counts
  }

  /** Who came within the batch. */
  get came(): Places {
    this.at(this.upTo)
    return [...this.#came]
  }

  #take({ user_id: id, old_membership: old, new_membership: now }: follow.Move): void {
    this.#next++
    const [was, is] = [old === 'join', now === 'join']
    if (id === null || was === is) return
    if (is)
      for (const place of this.#follows.ofUser(id))
        if (!this.#counts.has(place)) this.#came.add(place)
    change(this.#counts, this.#follows.ofUser(id), is ? 1 : -1)
    this.#places = undefined
  }
}
