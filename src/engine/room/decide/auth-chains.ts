import type { Pool } from '#store/db.ts'
import type { AuthGraph } from '#store/room/auth-graph.ts'
import { read } from '#store/room/auth-graphs.ts'
import { AuthPending } from '#store/room/auth-pending.ts'
import type { NewAuthNode, RoomPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Nodes that are taken in before others get a turn. */
const perStep = 2_000

type Cited = Pick<Known, 'nid' | 'authOrder'>

/**
 * The auth chains of a room's state events. Each event is numbered once the chains of all that it
 * cites are known; until then it waits for a late ancestor. The graph itself is read when a resolution
 * first asks for it.
 */
export class AuthChains {
  #next: number
  #graph: AuthGraph | undefined
  readonly #pending: AuthPending
  /** Numbers of events that had to wait for them: what was read of such an event does not say. */
  readonly #completed = new Map<number, number>()
  /** Numbered since the room was loaded: they may not be in the database yet. */
  #added: NewAuthNode[] = []
  /** How often chains became complete after their event: what was worked out before may not hold. */
  completions = 0

  constructor(next: number, pending = new AuthPending()) {
    this.#next = next
    this.#pending = pending
  }

  get bytes(): number {
    return (this.#graph?.bytes ?? 0) + 80 * this.#added.length
  }

  /** Numbers an event, if the chains of all that it cites are known; `cited` is in its order. */
  add(known: Known, cited: readonly (Cited | undefined)[], part: RoomPart): void {
    const { eventId, authEvents } = known.event
    const orders = new Map<string, number>()
    for (const [index, auth] of cited.entries()) {
      const order = auth && (auth.authOrder ?? this.#completed.get(auth.nid))
      if (order !== undefined) orders.set(authEvents[index]!, order)
    }
    if (authEvents.some((id) => !orders.has(id))) {
      this.#pending.add(known.nid, eventId, authEvents, orders)
      part.authPending.push({ eventNid: known.nid, cites: authEvents.map(packEventId) })
      return
    }
    const order = this.#next++
    known.authOrder = order
    const parents = authEvents.map((id) => orders.get(id)!)
    this.#record({ eventNid: known.nid, order, parents }, part)
    for (const node of this.#pending.numbered(eventId, order, () => this.#next++)) {
      this.completions++
      this.#completed.set(node.eventNid, node.order)
      this.#record(node, part)
    }
  }

  #record(node: NewAuthNode, part: RoomPart): void {
    part.auth.push(node)
    if (this.#graph) this.#graph.append([node])
    else this.#added.push(node)
  }

  /** The graph, with all that was numbered. */
  *read(sql: Pool, room: Room): Task<AuthGraph> {
    if (this.#graph) return this.#graph
    const graph = yield* wait(read(sql, room.shard, room.nid))
    // A join has numbered tens of thousands. Another strand may have read it meanwhile, and more may come.
    for (let taken = 0; !this.#graph && taken < this.#added.length;) {
      const some = this.#added.slice(taken, taken + perStep)
      graph.append(some)
      taken += some.length
      yield
    }
    if (this.#graph) return this.#graph
    this.#added = []
    this.#graph = graph
    return graph
  }
}
