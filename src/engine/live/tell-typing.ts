import type { Signal } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as serve from '#store/federation/serve.ts'
import type { TypingRoom } from './typing.ts'

export type Telling = {
  sql: Sql
  serverName: string
  federation: { signal(signal: Signal): void }
}

/** Servers that one notification goes to; in rooms of more nobody can follow who types. */
const maxServers = 2_000

/** Tells the servers in a room that a user of ours types there, or not any more. */
export async function tellTyping(
  { sql, serverName, federation }: Telling,
  { shard, roomNid, roomId }: TypingRoom,
  userId: string,
  typing: boolean,
): Promise<void> {
  const found = await serve.serversIn(sql, shard, roomNid, maxServers)
  const servers = found.filter((server) => server !== serverName)
  if (servers.length === 0) return
  const content = { room_id: roomId, user_id: userId, typing }
  const edu = JSON.stringify({ edu_type: 'm.typing', content })
  federation.signal({ s: 'edu', servers, key: `m.typing ${roomId} ${userId}`, edu })
}
