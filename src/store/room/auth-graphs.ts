import type { Sql } from '#store/db.ts'
import { AuthGraph } from './auth-graph.ts'

/** Nodes that one statement reads, and that are taken in before others get a turn. */
const nodesPerRead = 65_536
const nodesPerRow = 4_096

/**
 * The auth graphs of rooms in memory, the least used of them dropped above a number of bytes. A graph is
 * kept up to date by `append`: what is decided in its room, in the order of the numbers.
 */
export class AuthGraphs {
  readonly #maxBytes: number
  /** In the order of use. */
  readonly #byRoom = new Map<number, AuthGraph>()

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get size(): number {
    return this.#byRoom.size
  }

  get(roomNid: number): AuthGraph | undefined {
    const graph = this.#byRoom.get(roomNid)
    if (!graph) return undefined
    this.#byRoom.delete(roomNid)
    this.#byRoom.set(roomNid, graph)
    return graph
  }

  /** The graph of a room, as far as it is committed: what is decided beyond must be appended. */
  async load(sql: Sql, shard: number, roomNid: number): Promise<AuthGraph> {
    const known = this.get(roomNid)
    if (known) return known
    const graph = await read(sql, shard, roomNid)
    // Another may have read it meanwhile, and appended to it.
    const raced = this.get(roomNid)
    if (raced) return raced
    this.#byRoom.set(roomNid, graph)
    this.#trim()
    return graph
  }

  /** A room was reloaded: what was appended to its graph may not be committed. */
  forget(roomNid: number): void {
    this.#byRoom.delete(roomNid)
  }

  #trim(): void {
    let bytes = 0
    for (const graph of this.#byRoom.values()) bytes += graph.bytes
    for (const [roomNid, graph] of this.#byRoom) {
      if (bytes <= this.#maxBytes || this.#byRoom.size === 1) break
      this.#byRoom.delete(roomNid)
      bytes -= graph.bytes
    }
  }
}

/** Reads a whole graph. Thousands of nodes come as one value, in PostgreSQL's binary form. */
export async function read(sql: Sql, shard: number, roomNid: number): Promise<AuthGraph> {
  const graph = new AuthGraph()
  for (;;) {
    const from = graph.length
    const rows = await sql<{ nodes: Buffer }[]>`
      select auth_order / ${nodesPerRow}::int as part,
        string_agg(int8send(event_nid) || array_send(parents), ''::bytea order by auth_order) as nodes
      from auth_graph
      where shard = ${shard} and room_nid = ${roomNid}
        and auth_order >= ${from} and auth_order < ${from + nodesPerRead}
      group by part order by part`
    for (const { nodes } of rows) {
      graph.append(decode(nodes, graph.length))
      await Bun.sleep(0)
    }
    if (graph.length < from + nodesPerRead) return graph
  }
}

/** An array is: dimensions, flags, element type; if it has a dimension length and lower bound; elements. */
function* decode(bytes: Buffer, first: number) {
  let at = 0
  for (let order = first; at < bytes.length; order++) {
    const eventNid = Number(bytes.readBigInt64BE(at))
    const dimensions = bytes.readInt32BE(at + 8)
    const parents = new Int32Array(dimensions === 0 ? 0 : bytes.readInt32BE(at + 20))
    at += dimensions === 0 ? 20 : 28
    for (let parent = 0; parent < parents.length; parent++) {
      parents[parent] = bytes.readInt32BE(at + 4)
      at += 8
    }
    yield { eventNid, order, parents }
  }
}
