import { LRUCache } from 'lru-cache'
import type { Sql } from '#store/db.ts'
import { byteaText } from './event-id.ts'
import { addPair, emptyHash, hashBytes, hashText } from './state-hash.ts'

/**
 * Sets of servers as numbers. In a large room every join of a new server makes another set, so a set is
 * written as what it adds to an older one, or removes from it, when that is shorter.
 */
export type ServerSet = { nid: number; height: number; servers: ReadonlySet<number> }

/** Rows that a reader follows at most. */
const highest = 16

export class ServerSets {
  readonly #sql: Sql
  readonly #byHash: LRUCache<string, ServerSet>

  constructor(sql: Sql, maxBytes = 16_000_000) {
    this.#sql = sql
    this.#byHash = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ servers }) => 200 + 40 * servers.size,
    })
  }

  /**
   * The number of a set, made if need be, in a short transaction of its own. `older` is a set that
   * differs in little, such as the one that the room had before.
   */
  async intern(servers: Iterable<number>, older?: ServerSet): Promise<ServerSet> {
    const sql = this.#sql
    const wanted = new Set(servers)
    const hash = emptyHash()
    for (const server of wanted) addPair(hash, server, 0)
    const key = hashText(hash)
    const known = this.#byHash.get(key)
    if (known) return known

    const change = older && older.height < highest ? difference(older.servers, wanted) : undefined
    const based = change !== undefined && 2 * change.length < wanted.size
    const rows = based ? change : [...wanted].sort((a, b) => a - b)
    const base = based ? older!.nid : null
    const height = based ? older!.height + 1 : 0
    const bytes = byteaText(hashBytes(hash))
    const select = () =>
      sql<{ set_nid: number; height: number }[]>`
        select set_nid, height from server_sets where hash = ${bytes}::text::bytea`
    let [row] = await select()
    if (!row) {
      await sql`
        insert into server_sets (hash, base_nid, height, servers)
        values (${bytes}::text::bytea, ${base}, ${height}, ${rows}::int[])
        on conflict (hash) do nothing`
      ;[row] = await select()
    }
    const set = { nid: row!.set_nid, height: row!.height, servers: wanted }
    this.#byHash.set(key, set)
    return set
  }
}

/** What `wanted` adds, and what it lacks as negative numbers. */
function difference(older: ReadonlySet<number>, wanted: ReadonlySet<number>): number[] {
  const change: number[] = []
  for (const server of wanted) if (!older.has(server)) change.push(server)
  for (const server of older) if (!wanted.has(server)) change.push(-server)
  return change
}

/** The members of some sets, in one statement: the entry nearest to a set decides. */
export async function members(
  sql: Sql,
  setNids: readonly number[],
): Promise<Map<number, number[]>> {
  const rows = await sql<{ set_nid: number; servers: number[] }[]>`
    with recursive layer as (
      select set_nid, base_nid, 0 as below, servers from server_sets
      where set_nid = any(${setNids as number[]}::bigint[])
      union all
      select l.set_nid, s.base_nid, l.below + 1, s.servers
      from layer l join server_sets s on s.set_nid = l.base_nid
    ), entry as (
      select distinct on (set_nid, abs(n)) set_nid, abs(n) as server, n > 0 as is_member
      from layer cross join unnest(servers) n
      order by set_nid, abs(n), below
    )
    select set_nid, array_agg(server order by server) filter (where is_member) as servers
    from entry group by set_nid`
  const found = new Map(rows.map((row) => [row.set_nid, row.servers ?? []]))
  for (const nid of setNids) if (!found.has(nid)) found.set(nid, [])
  return found
}
