import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { Pool } from '#store/db.ts'
import * as outbox from '#store/federation/outbox.ts'

/** Sets of servers never change, and neither does the number of a server. */
export class ServerSets {
  readonly #members = new LRUCache<number, ReadonlySet<number>>({
    maxSize: 2_000_000,
    sizeCalculation: (servers) => servers.size + 1,
  })
  readonly #nids = new LRUCache<string, number>(atMost(20_000))

  /** A test whether a server is in one of these sets. */
  async of(
    sql: Pool,
    server: string,
    setNids: ReadonlySet<number>,
  ): Promise<(setNid: number) => boolean> {
    const nid = this.#nids.get(server) ?? (await outbox.serverNid(sql, server))
    if (nid === undefined) return () => false
    this.#nids.set(server, nid)

    const found = new Map<number, ReadonlySet<number>>()
    const missing: number[] = []
    for (const setNid of setNids) {
      const members = this.#members.get(setNid)
      if (members) found.set(setNid, members)
      else missing.push(setNid)
    }
    if (missing.length > 0)
      for (const [setNid, servers] of await outbox.setMembers(sql, missing)) {
        const members = new Set(servers)
        found.set(setNid, members)
        this.#members.set(setNid, members)
      }
    return (setNid) => found.get(setNid)?.has(nid) === true
  }
}
