import type { Pool } from '#store/db.ts'
import type { RoomPart } from '#store/room/batch.ts'
import { authGraph } from '#store/room/load-room.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/**
 * The auth chains of a room's state events. Each is numbered when all that it cites is: parents first.
 * What a number leads to is read from the database when a resolution first asks for it.
 */
export class AuthGraph {
  #next: number
  /** By order; undefined until the graph is read. */
  #nodes: { nids: number[]; parents: (readonly number[])[] } | undefined
  /** Of events that were numbered since it was made, or read. */
  readonly #orders = new Map<number, number>()
  readonly #added: { nid: number; order: number; parents: readonly number[] }[] = []

  constructor(next: number) {
    this.#next = next
  }

  /** Numbers an event, if the chains of all that it cites are known. */
  add(known: Known, cited: readonly (Known | undefined)[], part: RoomPart): void {
    const parents: number[] = []
    for (const auth of cited) {
      if (auth?.authOrder === undefined || auth.authOrder === null) return
      parents.push(auth.authOrder)
    }
    const order = this.#next++
    known.authOrder = order
    part.auth.push({ eventNid: known.nid, order, parents })
    if (this.#nodes) this.#push(known.nid, parents)
    else this.#added.push({ nid: known.nid, order, parents })
  }

  /** Reads what is needed to walk auth chains. */
  *read(sql: Pool, room: Room): Task<void> {
    if (this.#nodes) return
    const rows = yield* wait(authGraph(sql, room.shard, room.nid).then((list) => list))
    // Another strand may have read it meanwhile.
    if (this.#nodes) return
    this.#nodes = { nids: [], parents: [] }
    for (const { event_nid: nid, parents } of rows) this.#push(nid, parents)
    for (const { nid, order, parents } of this.#added)
      if (order >= this.#nodes.nids.length) this.#push(nid, parents)
    this.#added.length = 0
  }

  /** The events that an event cites. */
  readonly authOf = (nid: number): readonly number[] => {
    const order = this.#orders.get(nid)
    if (order === undefined || !this.#nodes) return []
    return this.#nodes.parents[order]!.map((parent) => this.#nodes!.nids[parent]!)
  }

  /** Whether the whole chain of an event is in the graph. */
  has(nid: number): boolean {
    return this.#orders.has(nid)
  }

  #push(nid: number, parents: readonly number[]): void {
    this.#orders.set(nid, this.#nodes!.nids.length)
    this.#nodes!.nids.push(nid)
    this.#nodes!.parents.push(parents)
  }
}
