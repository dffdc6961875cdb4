import { shardOfNid } from '#core/shard.ts'
import type { Signal } from '#engine/worker/protocol.ts'
import type { Sql } from '#store/db.ts'
import { serversOfRooms } from '#store/federation/servers-of-rooms.ts'
import { type Entry, contentOf } from './presence-entry.ts'

export type TellingPresence = {
  sql: Sql
  serverName: string
  clock: () => number
  federation: { signal(signal: Signal): void }
}

/** Servers of one room that are told. */
const maxServers = 2_000
/** Users of whom one EDU tells. */
const maxUpdates = 50

/**
 * Tells other servers of users of ours: each server of those who share a room with it, of several in
 * one EDU.
 *
 * Spec: server-server-api/#presence
 */
export async function tellPresence(
  { sql, serverName, clock, federation }: TellingPresence,
  entries: readonly Entry[],
): Promise<void> {
  const byRoom = new Map<number, Entry[]>()
  for (const entry of entries)
    for (const roomNid of entry.rooms ?? []) {
      const there = byRoom.get(roomNid)
      if (there) there.push(entry)
      else byRoom.set(roomNid, [entry])
    }
  const rooms = Array.from(byRoom.keys(), (roomNid) => ({ shard: shardOfNid(roomNid), roomNid }))
  if (rooms.length === 0) return
  const byServer = new Map<string, Set<Entry>>()
  for (const { room_nid, name } of await serversOfRooms(sql, rooms, maxServers)) {
    if (name === serverName) continue
    const told = byServer.get(name) ?? new Set()
    for (const entry of byRoom.get(room_nid) ?? []) told.add(entry)
    byServer.set(name, told)
  }
  const now = clock()
  for (const { servers, told } of inGroups(byServer))
    for (let from = 0; from < told.length; from += maxUpdates) {
      const part = told.slice(from, from + maxUpdates)
      const push = part.map((entry) => updateOf(entry, now))
      const edu = JSON.stringify({ edu_type: 'm.presence', content: { push } })
      // News of the same users takes the place of what still waits.
      const key = `m.presence ${part.map(({ userId }) => userId).join(' ')}`
      federation.signal({ s: 'edu', servers, key, edu })
    }
}

const updateOf = (entry: Entry, now: number) => ({
  user_id: entry.userId,
  last_active_ago: 0,
  ...contentOf(entry, entry.shown, now),
})

/** Servers that are told the same. */
function inGroups(byServer: ReadonlyMap<string, ReadonlySet<Entry>>) {
  const groups = new Map<string, { servers: string[]; told: Entry[] }>()
  for (const [server, entries] of byServer) {
    const told = [...entries].sort((a, b) => (a.userId < b.userId ? -1 : 1))
    const name = told.map(({ userId }) => userId).join(' ')
    const group = groups.get(name)
    if (group) group.servers.push(server)
    else groups.set(name, { servers: [server], told })
  }
  return groups.values()
}
