import type { Signing } from '#core/event/build.ts'
import type { resolve } from '#core/state-res/resolve.ts'
import type { Pool } from '#store/db.ts'
import type { Interner } from '#store/room/intern.ts'
import type { ServerSets } from '#store/room/server-sets.ts'
import type { Shard } from '#store/room/shards.ts'
import type { Counters, Times } from '#engine/room/counters.ts'
import type { EventCache } from '#engine/room/events.ts'
import type { Yielding } from '#engine/room/import/yielding.ts'
import type { InboxMemory } from '#engine/room/inbox/inbox-memory.ts'
import type { KeyCache } from '#engine/room/keys.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Limits } from '#engine/room/limits.ts'
import type { Persister } from '#engine/room/commit/persist.ts'
import type { Room } from '#engine/room/room.ts'
import type { PolicyServers } from '#engine/room/policy/policy-servers.ts'
import type { States } from '#engine/room/states.ts'
import type { Turns } from '#engine/room/turns.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/** What the lanes of a worker share. */
export type Parts = {
  readonly sql: Pool
  readonly signing: Signing
  readonly federation: Federation
  readonly limits: Limits
  readonly counters: Counters
  /** What is in memory of the inbox. */
  readonly memory: InboxMemory
  readonly times: Times
  readonly turns: Turns
  readonly persister: Persister
  readonly shards: ReadonlyMap<number, Shard>
  readonly interner: Interner
  readonly serverSets: ServerSets
  readonly events: EventCache
  readonly states: States
  readonly keys: KeyCache
  readonly policies: PolicyServers
  /** How imports make way for people who send. */
  readonly yielding: Yielding
  /** MSC2716: whether history is taken that other servers put into rooms. */
  readonly history: boolean
  /** State resolution of the core; tests make it slow. */
  readonly resolve: typeof resolve
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly onError: (error: unknown, what: string) => void
  /** An event of a peer was dropped: told for the log, nothing else. */
  readonly onDrop: (roomId: string, origin: string, reason: string) => void
  /** So many rows of a room that is very far behind were dropped. */
  readonly onThin: (roomId: string, dropped: number) => void
  /** Whether a join through other servers is under way: then the room's inbox waits. */
  readonly isJoining: (roomId: string) => boolean
  readonly loadRoom: (roomId: string, shard: number) => Promise<Room | null>
  /** Asks other servers for what the parked events of a lane lack. */
  readonly fetchMissing: (lane: Lane) => void
}

/** The shard of a room, which is ours. */
export function shardOfRoom(parts: Parts, room: { shard: number }): Shard {
  const shard = parts.shards.get(room.shard)
  if (!shard) throw new Error(`shard ${room.shard} is not ours`)
  return shard
}
