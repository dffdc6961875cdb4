import { notFound } from '#core/error.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as sessions from '#store/import/sessions.ts'
import type { Context } from '#src/context.ts'

/** A session of the caller's own; an administrator has all of them. */
export async function sessionOf(
  { sql }: Context,
  who: Session,
  sessionId: string,
): Promise<sessions.SessionRow> {
  const row = await sessions.byId(sql, sessionId)
  if (!row || !isOwn(who, row.owner)) throw notFound('There is no such import')
  return row
}

/** A session of an application service is that of all whom it may act as. */
export const ownerOf = ({ userId, appservice }: Session): string =>
  appservice ? `appservice ${appservice.id}` : userId

const isOwn = (who: Session, owner: string): boolean => who.admin || ownerOf(who) === owner

/** A session as its importer is told of it. */
export const tellSession = (row: sessions.SessionRow, waiting: number) => ({
  session_id: row.session_id,
  room_id: row.room_id,
  source: row.source,
  mode: row.mode,
  state: row.state,
  next_batch: row.next_batch,
  accepted: row.accepted,
  duplicates: row.duplicates,
  waiting,
  failed: row.failed,
  first_ts: row.first_ts,
  last_ts: row.last_ts,
  created_ts: row.created_at,
})
