import type { Steps } from '#core/state-res/steps.ts'
import type { Pool } from '#store/db.ts'
import { AuthGraph } from '#store/room/auth-graph.ts'
import type { NewAuthNode, RoomPart } from '#store/room/batch.ts'
import { authGraph } from '#store/room/load-room.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

type Cited = Pick<Known, 'authOrder'>

/**
 * The auth chains of a room's state events. Each event is numbered once the chains of all that it
 * cites are known. The graph itself is read when a resolution first asks for it.
 */
export class AuthChains {
  #next: number
  #graph: AuthGraph | undefined
  /** Numbered since the room was loaded: they may not be in the database yet. */
  readonly #added: NewAuthNode[] = []

  constructor(next: number) {
    this.#next = next
  }

  get bytes(): number {
    return (this.#graph?.bytes ?? 0) + 80 * this.#added.length
  }

  /** Numbers an event, if the chains of all that it cites are known. */
  add(known: Known, cited: readonly (Cited | undefined)[], part: RoomPart): void {
    const parents: number[] = []
    for (const auth of cited) {
      if (!auth || auth.authOrder === null) return
      parents.push(auth.authOrder)
    }
    const node = { eventNid: known.nid, order: this.#next++, parents }
    known.authOrder = node.order
    part.auth.push(node)
    if (this.#graph) this.#graph.append([node])
    else this.#added.push(node)
  }

  /** The graph, with all that was numbered. */
  *read(sql: Pool, room: Room): Task<AuthGraph> {
    if (this.#graph) return this.#graph
    const rows = yield* wait(authGraph(sql, room.shard, room.nid).then((list) => list))
    // Another strand may have read it meanwhile.
    if (this.#graph) return this.#graph
    const graph = new AuthGraph()
    yield* append(
      graph,
      rows.map(({ event_nid: eventNid, auth_order: order, parents }) => ({
        eventNid,
        order,
        parents,
      })),
    )
    graph.append(this.#added.splice(0))
    this.#graph = graph
    return graph
  }
}

const nodesPerStep = 4_000

function* append(graph: AuthGraph, nodes: readonly NewAuthNode[]): Steps<void> {
  for (let from = 0; from < nodes.length; from += nodesPerStep) {
    graph.append(nodes.slice(from, from + nodesPerStep))
    yield
  }
}
