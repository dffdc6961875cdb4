import type { RoomEvent } from '#core/event/pdu.ts'
import type { Pool } from '#store/db.ts'
import type { InboxGraph } from './inbox.ts'

/** What thinning must know of an event. */
export function graphOf({
  eventId,
  prevEvents,
  type,
  stateKey,
  sender,
  content,
}: RoomEvent): InboxGraph {
  const isOwnJoin =
    type === 'm.room.member' && stateKey === sender && content['membership'] === 'join'
  return { eventId, prevEvents, isState: stateKey !== undefined && !isOwnJoin }
}

/** What is kept of a room that is far behind. */
export type Thinned = {
  /** It is thinned if it has more rows than this, */
  above: number
  /** and of them so many that came first stay, */
  keep: number
  /** and of the rest the newest of each origin, */
  newest: number
  /** and so many of its state events, own joins apart. */
  states: number
  /** Rows that stay in any case: they are in memory. */
  held: readonly number[]
}

/**
 * Drops rows of a room that has very many: those that other rows cite, whose senders know that they are
 * there and can tell of them. What nobody cites stays. Undefined if the room has not so many, else how
 * many rows were dropped.
 */
export async function thin(
  sql: Pool,
  shard: number,
  roomId: string,
  { above, keep, newest, states, held }: Thinned,
): Promise<number | undefined> {
  const [beyond] = await sql`
    select 1 from inbox where shard = ${shard} and room_id = ${roomId}
    order by inbox_id offset ${above} limit 1`
  if (!beyond) return undefined
  return sql.begin(async (sql) => {
    const [, dropped] = await Promise.all([
      // Elsewhere only look-ups are planned; here very many rows meet as many.
      sql`set local enable_hashjoin = on`,
      sql`
        with cited as materialized (
          select distinct unnest(prev_events) as event_id
          from inbox where shard = ${shard} and room_id = ${roomId}
        ), ranked as materialized (
          select inbox_id, event_id,
            row_number() over (partition by origin order by inbox_id desc) as nth,
            is_state, row_number() over (partition by origin, is_state order by inbox_id desc)
              as nth_state
          from (
            select inbox_id, origin, event_id, is_state from inbox
            where shard = ${shard} and room_id = ${roomId}
            order by inbox_id offset ${keep}
          ) rest
        )
        delete from inbox
        where shard = ${shard} and inbox_id = any(array(
          select r.inbox_id from ranked r join cited c on c.event_id = r.event_id
          where r.nth > ${newest} and not (r.is_state and r.nth_state <= ${states})
            and r.inbox_id not in (select unnest(${held as number[]}::bigint[]))
        ))`,
    ])
    return dropped.count
  })
}
