import type { Sql } from '#store/db.ts'
import * as serve from '#store/federation/serve.ts'
import type { RoomRef } from './room-ref.ts'

/** Not spec: servers named as ways into a room. */
const maxServers = 50

/** The servers in a room, those with the most members first. */
export const serversOf = (sql: Sql, { shard, roomNid }: RoomRef): Promise<string[]> =>
  serve.serversIn(sql, shard, roomNid, maxServers)
