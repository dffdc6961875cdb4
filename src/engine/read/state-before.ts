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

async function load(sql: Reader['sql'], { room }: ReadEvent, nids: readonly number[]) {
  const wanted = nids.map((nid) => ({ shard: shardOfNid(nid), nid }))
  return [...(await loadEvents(sql, new Map([[room.roomNid, room]]), wanted)).values()]
}
