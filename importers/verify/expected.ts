import type { ImportApi, OutRecord } from '#importers/server/import-api.ts'
import type { Mapper } from '#importers/matrix/records.ts'
import type { Ledger, Session } from '#importers/state/ledger.ts'
import type { Cursor, Stamped } from '#importers/state/spool.ts'

export type Expected = { record: OutRecord; eventId: string | undefined }

const rowsOfPage = 400
/** What the server answers in one go. */
const idsOfRequest = 1000

/** What a session brought, in order, as it is made of the export again; with the events that it became. */
export async function* expectedOf(
  ledger: Ledger,
  session: Session,
  mapper: Mapper,
  api: ImportApi,
): AsyncGenerator<Expected> {
  let cursor: Cursor | undefined
  for (;;) {
    const rows = ledger.sent(session, cursor, rowsOfPage)
    if (rows.length === 0) return
    cursor = rows.at(-1)
    const records = rows.flatMap((row) => mapper.map(row, JSON.parse(row.json) as Stamped).records)
    for (let from = 0; from < records.length; from += idsOfRequest) {
      const some = records.slice(from, from + idsOfRequest)
      const events = await api.events(
        session.session_id,
        some.map(({ src_id }) => src_id),
      )
      for (const record of some) yield { record, eventId: events.get(record.src_id) }
    }
  }
}

/** What of an event is compared: who said what, when. Nothing of one that is redacted but these two. */
export function essence(
  {
    type,
    sender,
    ts,
    content,
  }: {
    type: string
    sender: string
    ts: number
    content: { [name: string]: unknown }
  },
  isRedacted: boolean,
): string {
  const said = isRedacted ? [] : [content['body'], content['formatted_body'], content['url']]
  return JSON.stringify([type, sender, ts, ...said])
}
