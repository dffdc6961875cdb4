import type { RelatedFilter } from '#core/filter.ts'
import type { Sql } from '#store/db.ts'
import * as index from '#store/event-index/related.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { EventIndex } from './event-index.ts'
import type { Ask } from './visible.ts'

export type RelatedReader = {
  readonly sql: Sql
  readonly eventIndex?: Pick<EventIndex, 'reach'> | undefined
}

const forEver = Number.MAX_SAFE_INTEGER

/** A filter as the database takes it: PostgreSQL keeps no NUL, so nothing that is stored has one. */
export const storable = ({ relTypes, senders }: RelatedFilter): RelatedFilter => ({
  relTypes: relTypes?.filter((type) => !type.includes('\0')),
  senders,
})

/**
 * Those of some events to which something relates that a filter asks for, as far as their reader was
 * joined by then. Without such a filter nothing is looked up.
 *
 * Spec: client-server-api/#filtering
 */
export async function relatedAsks(
  { sql, eventIndex }: RelatedReader,
  filter: RelatedFilter | undefined,
  asks: Ask[],
): Promise<Ask[]> {
  if (!filter || asks.length === 0) return asks
  await eventIndex?.reach(asks.map(({ event }) => event.room.shard))
  const events = asks.map(({ event: { nid, room, event }, joinedUntil }) => ({
    shard: room.shard,
    roomNid: room.roomNid,
    nid,
    eventId: packEventId(event.eventId),
    until: joinedUntil >= 0 && Number.isFinite(joinedUntil) ? joinedUntil : forEver,
  }))
  const found = await index.related(sql, events, storable(filter))
  return asks.filter(({ event }) => found.has(event.nid))
}
