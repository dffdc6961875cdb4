import { LRUCache } from 'lru-cache'
import { parseJson } from '#core/canonical-json.ts'
import { isObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { ServerAcl } from '#core/server-acl.ts'
import type { Sql } from '#store/db.ts'
import * as inbound from '#store/federation/inbound.ts'

/** A room as the intake sees it. */
export type InboundRoom = {
  version: RoomVersion
  kind: inbound.InboundRoom['kind']
  /** Users of this server were joined, none is any more, and none is about to be. */
  isLeft: boolean
  /** Undefined: everybody may take part. */
  acl: ServerAcl | undefined
}

/** Looks rooms up for requests of other servers, and keeps their access lists ready. */
export class InboundRooms {
  /** By event number: an event never changes. */
  readonly #acls = new LRUCache<number, ServerAcl>({ max: 2_000 })
  readonly #serverName: string

  constructor(serverName: string) {
    this.#serverName = serverName
  }

  /** Those of these rooms that are known, in two statements at most. */
  async find(sql: Sql, roomIds: readonly string[]): Promise<Map<string, InboundRoom>> {
    const found = new Map<string, InboundRoom>()
    if (roomIds.length === 0) return found
    const rows = await inbound.rooms(sql, roomIds, this.#serverName)
    await this.#loadAcls(sql, rows)
    for (const row of rows) {
      const version = roomVersions.get(row.version)
      const before = found.get(row.room_id)
      // What is joining may be known from outside already: then the join counts.
      const isBetter = row.kind === 'joining' && before?.kind !== 'joined'
      if (before && row.kind === 'joining') before.isLeft = false
      if (!version || (before && !isBetter)) continue
      const acl = row.acl_nid === null ? undefined : this.#acls.get(row.acl_nid)
      found.set(row.room_id, { version, kind: row.kind, isLeft: row.is_left, acl })
    }
    return found
  }

  async #loadAcls(sql: Sql, rows: readonly inbound.InboundRoom[]): Promise<void> {
    const missing = rows.filter((row) => row.acl_nid !== null && !this.#acls.has(row.acl_nid))
    if (missing.length === 0) return
    const shards = missing.map((row) => row.acl_shard!)
    const nids = missing.map((row) => row.acl_nid!)
    for (const { event_nid: nid, json } of await inbound.eventJsons(sql, shards, nids)) {
      const event = parseJson(json)
      const content = isObject(event) ? event['content'] : undefined
      this.#acls.set(nid, new ServerAcl(isObject(content) ? content : {}))
    }
  }
}
