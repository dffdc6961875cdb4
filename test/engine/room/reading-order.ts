import { roomVersions } from '#core/room-version.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import type { TestDatabase } from '#test/database.ts'

/** What a reader finds in a room, oldest first: event IDs, and `gap …` with what is missing there. */
export async function readingOrder({ pool }: TestDatabase, roomId: string): Promise<string[]> {
  const rows = await pool<{ version: string; gap: string[] | null; ids: Uint8Array[] | null }[]>`
    select r.version, s.gap, (
      select array_agg(e.event_id order by e.chain_index) from events e
      where e.shard = s.shard and e.chain = s.chain
        and (s.from_index is null or e.chain_index >= s.from_index)
        and (s.to_index is null or e.chain_index <= s.to_index)
    ) as ids
    from rooms r
    join spans s on s.shard = r.shard and s.room_nid = r.room_nid and not s.hidden
    where r.room_id = ${roomId} order by s.order_key`
  const order: string[] = []
  for (const { version, gap, ids } of rows) {
    if (gap && gap.length > 0) order.push(`gap ${gap.join(' ')}`)
    for (const id of ids ?? []) order.push(unpackEventId(id, roomVersions.get(version)!))
  }
  return order
}
