import type { Sql } from '#store/db.ts'
import { AuthGraph } from './auth-graph.ts'

/** Nodes that one statement reads, and that are taken in before others get a turn. */
const nodesPerRead = 65_536
const nodesPerRow = 4_096

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
