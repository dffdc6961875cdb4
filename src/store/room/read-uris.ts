import type { Sql } from '#store/db.ts'
import { isUnseen } from './unseen.ts'

export type UriRow = { event_nid: number; origin_server_ts: number; json: string }

/** Messages of a room that name media, oldest first, after one; redacted ones as they were. */
export const messagesWithMedia = (
  sql: Sql,
  shard: number,
  roomNid: number,
  after: Pick<UriRow, 'event_nid' | 'origin_server_ts'> | undefined,
  limit: number,
) =>
  sql<UriRow[]>`
    select e.event_nid, e.origin_server_ts, j.json
    from events e
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where e.shard = ${shard} and e.room_nid = ${roomNid} and e.chain is not null
      and not ${isUnseen(sql, sql`e`)}
      and e.type_nid in (
        select type_nid from event_types where type in ('m.room.message', 'm.sticker'))
      ${
        after
          ? sql`and (e.origin_server_ts, e.event_nid)
              > (${after.origin_server_ts}::bigint, ${after.event_nid}::bigint)`
          : sql``
      }
      and j.json like '%"mxc://%'
    order by e.origin_server_ts, e.event_nid
    limit ${limit}`
