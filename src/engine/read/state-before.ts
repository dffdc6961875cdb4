import { isHistorical } from '#core/content/msc2716.ts'
import { shardOfNid } from '#core/shard.ts'
import * as readKeys from '#store/room/read-keys.ts'
import { type ReadEvent, loadEvents } from './events.ts'
import type { Reader } from './room.ts'
import type { Snapshots } from './snapshots.ts'

type Deps = Pick<Reader, 'sql'> & { readonly snapshots: Snapshots }

/** The state before an event: all of it, or with only these members. */
export async function stateBefore(
  { sql, snapshots }: Deps,
  event: ReadEvent,
  members: ReadonlySet<string> | undefined,
): Promise<ReadEvent[]> {
  if (event.snapshot === undefined) return []
  const nids = await snapshots.whole(sql, event.snapshot)
  const events = await load(sql, event, nids)
  if (!members) return events
  return events.filter(
    ({ event: { type, stateKey } }) => type !== 'm.room.member' || members.has(stateKey!),
  )
}

/** The member events that some users had before an event. */
export async function membersBefore(
  { sql, snapshots }: Deps,
  event: ReadEvent,
  userIds: ReadonlySet<string>,
): Promise<ReadEvent[]> {
  if (event.snapshot === undefined || userIds.size === 0) return []
  const keys = await readKeys.stateKeyNids(
    sql,
    Array.from(userIds, (stateKey) => ({ type: 'm.room.member', stateKey })),
  )
  const found = await snapshots.lookup(
    sql,
    [event.snapshot],
    keys.map((row) => row.state_key_nid),
  )
  return load(sql, event, [...(found.get(event.snapshot)?.values() ?? [])])
}

/**
 * The memberships of those who sent history that was put in later (MSC2716), one of each: they have names
 * and pictures in their batch alone. `told` are those whom other memberships tell of already.
 */
export async function membersOfHistory(
  { sql, snapshots }: Deps,
  events: readonly ReadEvent[],
  told: readonly ReadEvent[],
): Promise<ReadEvent[]> {
  const known = new Set(told.map(({ event }) => event.stateKey))
  const asked = new Map<string, ReadEvent>()
  for (const each of events) {
    const { sender, content } = each.event
    if (!isHistorical(content) || each.snapshot === undefined) continue
    if (!known.has(sender) && !asked.has(sender)) asked.set(sender, each)
  }
  if (asked.size === 0) return []
  const keys = await readKeys.stateKeyNids(
    sql,
    Array.from(asked.keys(), (stateKey) => ({ type: 'm.room.member', stateKey })),
  )
  const found = await snapshots.lookup(
    sql,
    [...new Set(Array.from(asked.values(), ({ snapshot }) => snapshot!))],
    keys.map((row) => row.state_key_nid),
  )
  const nids = keys.flatMap((row) => {
    const { snapshot } = asked.get(row.state_key)!
    return found.get(snapshot!)?.get(row.state_key_nid) ?? []
  })
  return load(sql, events[0]!, nids)
}

async function load(sql: Reader['sql'], { room }: ReadEvent, nids: readonly number[]) {
  const wanted = nids.map((nid) => ({ shard: shardOfNid(nid), nid }))
  return [...(await loadEvents(sql, new Map([[room.roomNid, room]]), wanted)).values()]
}
