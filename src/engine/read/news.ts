import type { Vector } from './vector.ts'

/** What the stream of a user's own shard may hold for them. */
export type OwnKind = 'account_data' | 'forgotten_rooms' | 'to_device' | 'receipts' | 'signatures'

/** Something new in a room, at a position of a shard. */
export type Change = {
  readonly roomNid: number
  readonly shard: number
  readonly position: number
}

// What is pushed out costs a look at every room of the user, once.
const maxChanges = 128
const keptChanges = 64

/** The last changes that concern one user, in the order in which they were taken in. */
export class ChangeLog {
  #changes: Change[] = []
  /** Nothing is missing after these positions. Shared until it moves. */
  #floor: Float64Array
  #isOwn = false

  constructor(floor: Float64Array) {
    this.#floor = floor
  }

  add(change: Change): void {
    this.#changes.push(change)
    if (this.#changes.length > maxChanges) this.#shorten()
  }

  /** The rooms that changed after some positions; undefined: it is too long ago to know. */
  after(positions: Float64Array): ReadonlySet<number> | undefined {
    const floor = this.#floor
    for (let shard = 0; shard < floor.length; shard++)
      if (positions[shard]! < floor[shard]!) return undefined
    const rooms = new Set<number>()
    for (const { roomNid, shard, position } of this.#changes)
      if (position > positions[shard]!) rooms.add(roomNid)
    return rooms
  }

  /** Of each room and shard the last one counts; of many, the newest. */
  #shorten(): void {
    const last = new Map<string, Change>()
    for (const change of this.#changes) {
      const name = `${change.roomNid} ${change.shard}`
      last.delete(name)
      last.set(name, change)
    }
    const all = [...last.values()]
    const dropped = all.slice(0, -keptChanges)
    this.#changes = all.slice(-keptChanges)
    if (dropped.length === 0) return
    if (!this.#isOwn) this.#floor = this.#floor.slice()
    this.#isOwn = true
    for (const { shard, position } of dropped)
      this.#floor[shard] = Math.max(this.#floor[shard]!, position)
  }
}

/**
 * What has come for one user since they were read into memory. It may say that there is something where
 * there is nothing, and never the other way round.
 */
export class News {
  /** In the rooms that they are in, or were: positions of the rooms' shards. */
  readonly rooms: ChangeLog
  /** Receipts in them: positions of the shards of those who read. */
  readonly receipts: ChangeLog
  readonly #shard: number
  readonly #floor: Vector
  readonly #own = new Map<OwnKind, number>()
  readonly #lists = new Map<number, number>()

  /** Nothing is known of what came before `floor`. */
  constructor(shard: number, floor: Vector) {
    this.#shard = shard
    this.#floor = floor
    this.rooms = new ChangeLog(floor.rooms)
    this.receipts = new ChangeLog(floor.users)
  }

  /** Something came in the user's own stream. */
  addOwn(kind: OwnKind, position: number): void {
    this.#own.set(kind, Math.max(this.#own.get(kind) ?? 0, position))
  }

  /** A device list of theirs, or of somebody with whom they share a room, changed. */
  addList(shard: number, position: number): void {
    this.#lists.set(shard, Math.max(this.#lists.get(shard) ?? 0, position))
  }

  /** Whether what was true at a position of the user's stream is so still. */
  isSame(kind: OwnKind, at: number): boolean {
    return at >= this.#floor.users[this.#shard]! && (this.#own.get(kind) ?? 0) <= at
  }

  /** Whether anything came in the user's stream after a position, or may have. */
  hasOwnAfter(at: number): boolean {
    if (at < this.#floor.users[this.#shard]!) return true
    for (const position of this.#own.values()) if (position > at) return true
    return false
  }

  /** Whether a device list that concerns the user changed after a vector, or may have. */
  hasListsAfter({ users: since }: Vector): boolean {
    const { users: floor } = this.#floor
    for (let shard = 0; shard < floor.length; shard++)
      if (since[shard]! < floor[shard]!) return true
    for (const [shard, position] of this.#lists) if (position > since[shard]!) return true
    return !this.isSame('signatures', since[this.#shard]!)
  }
}
