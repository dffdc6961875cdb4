import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { parseJson } from '#core/canonical-json.ts'
import {
  type HistoryVisibility,
  historyVisibilityOf,
} from '#core/content/m.room.history_visibility.ts'
import { type Membership, membershipOf } from '#core/content/m.room.member.ts'
import type { JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/room/read-keys.ts'

/** What a state event says of who may see what. */
export type StateFact = {
  readonly visibility: HistoryVisibility
  readonly membership: Membership | undefined
}

type StateKey = { readonly type: string; readonly stateKey: string }

/** What never changes of state: the numbers of keys, and what single events say. Bounded. */
export class StateFacts {
  readonly #keys = new LRUCache<string, number>(atMost(50_000))
  readonly #events = new LRUCache<number, StateFact>(atMost(100_000))

  /** The numbers of some keys; undefined: no event ever had it. */
  async keys(sql: Sql, keys: readonly StateKey[]): Promise<(number | undefined)[]> {
    const name = (type: string, stateKey: string) => `${type}\n${stateKey}`
    const known = keys.map(({ type, stateKey }) => this.#keys.get(name(type, stateKey)))
    const missing = keys.filter((_, index) => known[index] === undefined)
    if (missing.length === 0) return known
    const found = new Map<string, number>()
    for (const row of await readKeys.stateKeyNids(sql, missing)) {
      found.set(name(row.type, row.state_key), row.state_key_nid)
      this.#keys.set(name(row.type, row.state_key), row.state_key_nid)
    }
    return keys.map(({ type, stateKey }, index) => known[index] ?? found.get(name(type, stateKey)))
  }

  /** What some state events say, by their numbers. */
  async events(sql: Sql, nids: Iterable<number>): Promise<Map<number, StateFact>> {
    const found = new Map<number, StateFact>()
    const missing: number[] = []
    for (const nid of nids) {
      const known = this.#events.get(nid)
      if (known) found.set(nid, known)
      else missing.push(nid)
    }
    if (missing.length === 0) return found
    for (const row of await readKeys.jsonOf(sql, missing.map(shardOfNid), missing)) {
      const content = (parseJson(row.json) as JsonObject)['content'] as JsonObject
      const fact = { visibility: historyVisibilityOf(content), membership: membershipOf(content) }
      found.set(row.event_nid, fact)
      this.#events.set(row.event_nid, fact)
    }
    return found
  }
}
