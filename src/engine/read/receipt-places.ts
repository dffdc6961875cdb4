import { SHARDS } from '#core/shard.ts'
import type { Vector } from './vector.ts'

/**
 * Where receipts of each room last moved, in the streams of the users' shards. Of rooms only the
 * latest are kept; `#floor` says from where on nothing is missing.
 */
export class ReceiptPlaces {
  readonly #max: number
  readonly #rooms = new Map<number, Map<number, number>>()
  #floor = new Float64Array(SHARDS)
  /** The last vector that was asked for, whose answer is the same for all rooms. */
  #asked: { since: Vector; isTooOld: boolean } | undefined

  constructor(max: number) {
    this.#max = max
  }

  /** Nothing after this vector has been missed. */
  startAt({ users }: Vector): void {
    this.#floor = users.slice()
    this.#asked = undefined
  }

  move(roomNid: number, shard: number, position: number): void {
    const places = this.#rooms.get(roomNid) ?? new Map<number, number>()
    this.#rooms.delete(roomNid)
    this.#rooms.set(roomNid, places.set(shard, Math.max(places.get(shard) ?? 0, position)))
    if (this.#rooms.size <= this.#max) return
    const [oldest] = this.#rooms
    if (!oldest) return
    this.#rooms.delete(oldest[0])
    this.#asked = undefined
    for (const [each, at] of oldest[1]) this.#floor[each] = Math.max(this.#floor[each]!, at)
  }

  /** Whether a room has receipts after a vector, or may have. */
  changed(roomNid: number, since: Vector): boolean {
    const places = this.#rooms.get(roomNid)
    if (places)
      for (const [shard, position] of places) if (position > since.users[shard]!) return true
    return this.#isTooOld(since)
  }

  #isTooOld(since: Vector): boolean {
    if (this.#asked?.since !== since) {
      const isTooOld = this.#floor.some((position, shard) => position > since.users[shard]!)
      this.#asked = { since, isTooOld }
    }
    return this.#asked.isTooOld
  }
}
