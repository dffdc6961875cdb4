import type { Sql } from '#store/db.ts'
import type { NewAuthNode } from './batch.ts'

/**
 * State events of a room that wait for a number in its auth graph, because something that they lead to
 * is not here, or waits itself. A late ancestor completes them, and whatever waits for those. There
 * are hardly ever any.
 */
export class AuthPending {
  readonly #waiting = new Map<number, Waiting>()
  /** By what is missing. */
  readonly #byCited = new Map<string, Set<number>>()

  get size(): number {
    return this.#waiting.size
  }

  /** An event some of whose auth events have no number; `orders` are those of the others. */
  add(
    eventNid: number,
    key: string,
    cites: readonly string[],
    orders: ReadonlyMap<string, number>,
  ) {
    const missing = new Set(cites.filter((cited) => !orders.has(cited)))
    this.#waiting.set(eventNid, { eventNid, key, cites, orders: new Map(orders), missing })
    for (const cited of missing) {
      const waiting = this.#byCited.get(cited)
      if (waiting) waiting.add(eventNid)
      else this.#byCited.set(cited, new Set([eventNid]))
    }
  }

  /** An event has got its number: what is complete by that gets the next ones, parents first. */
  numbered(key: string, order: number, next: () => number): NewAuthNode[] {
    const nodes: NewAuthNode[] = []
    const open = [{ key, order }]
    for (let done = open.shift(); done; done = open.shift()) {
      const children = this.#byCited.get(done.key)
      this.#byCited.delete(done.key)
      for (const eventNid of children ?? []) {
        const waiting = this.#waiting.get(eventNid)!
        waiting.orders.set(done.key, done.order)
        waiting.missing.delete(done.key)
        if (waiting.missing.size > 0) continue
        this.#waiting.delete(eventNid)
        const parents = waiting.cites.map((cited) => waiting.orders.get(cited)!)
        const node = { eventNid, order: next(), parents }
        nodes.push(node)
        open.push({ key: waiting.key, order: node.order })
      }
    }
    return nodes
  }
}

type Waiting = {
  eventNid: number
  key: string
  cites: readonly string[]
  orders: Map<string, number>
  missing: Set<string>
}

export type PendingRow = {
  event_nid: number
  event_id: Uint8Array
  cites: Uint8Array[]
  /** The numbers of what it cites, in the order of `cites`; −1: it has none. */
  orders: number[]
}

/** What waits in a room. */
export const pendingOf = (sql: Sql, shard: number, roomNid: number) =>
  sql<PendingRow[]>`
    select p.event_nid, e.event_id, p.cites, (
        select array_agg(coalesce(a.auth_order, -1) order by c.place)
        from unnest(p.cites) with ordinality as c (event_id, place)
        left join event_ids i on i.event_id = c.event_id and i.shard = p.shard
        left join auth_graph a on a.shard = p.shard and a.event_nid = i.event_nid
      ) as orders
    from auth_pending p
    join events e on e.shard = p.shard and e.event_nid = p.event_nid
    where p.shard = ${shard} and p.room_nid = ${roomNid}`
