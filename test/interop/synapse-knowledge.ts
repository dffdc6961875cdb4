import { Database } from 'bun:sqlite'
import { type Fact, type Knowledge, factIn, placeIn } from '../simulation/knowledge.ts'
import type { Room } from '../simulation/world.ts'

type Row = {
  event_id: string
  stream_ordering: number
  outlier: number
  rejection_reason: string | null
  internal_metadata: string
  json: string
}

/** What a Synapse knows of a room, by its database. To whom it sends events is not written there. */
export function synapseKnowledge(file: string, { roomId }: Room): Knowledge {
  using database = new Database(file, { readonly: true })
  database.run('pragma busy_timeout = 30000')
  const rows = database
    .query<Row, [string]>(
      `select e.event_id, e.stream_ordering, e.outlier, e.rejection_reason, j.internal_metadata,
         j.json
       from events e join event_json j on j.event_id = e.event_id
       where e.room_id = ?`,
    )
    .all(roomId)
  const facts = new Map<string, Fact>(
    rows.map((row) => {
      const { soft_failed: softFailed } = JSON.parse(row.internal_metadata) as {
        soft_failed?: boolean
      }
      const outlier = row.outlier !== 0
      return [
        row.event_id,
        {
          ...factIn(row.json),
          // What was backfilled counts backwards.
          position: outlier || row.stream_ordering < 0 ? undefined : row.stream_ordering,
          softFailed: softFailed === true,
          rejected: row.rejection_reason !== null,
          outlier,
          sentTo: undefined,
          place: `${placeIn(row.json)}, ${row.stream_ordering} ${row.rejection_reason ?? ''}`,
        },
      ]
    }),
  )
  return { facts }
}
