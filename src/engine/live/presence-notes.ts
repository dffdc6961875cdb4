import type { Sql } from '#store/db.ts'
import * as stored from '#store/user/presence.ts'
import { type Entry, newEntry } from './presence-entry.ts'
import type { PresenceLog } from './presence-log.ts'

/** The device of who was here when the server went down. */
export const before = '\0'

/** Those who were there when it was last noted, as they are taken to be now. */
export async function recall(
  sql: Sql,
  serverName: string,
  now: number,
  limit: number,
): Promise<Entry[]> {
  const rows = await stored.present(sql, limit)
  return rows.map((row) => {
    const entry = newEntry(row.user_id, serverName)
    const state = row.presence === 'online' ? 'online' : 'unavailable'
    const statusMsg = row.status_msg ?? undefined
    if (entry.isOwn) entry.devices.set(before, { state, syncs: 0, seenAt: now })
    else entry.said = { state, statusMsg, currentlyActive: false }
    return Object.assign(entry, {
      statusMsg,
      knowsStatus: true,
      activeAt: row.active_at,
      heardAt: now,
      toldAt: now,
    } satisfies Partial<Entry>)
  })
}

/** Notes what was last told of some users; who is offline and has no more to say needs no row. */
export async function note(sql: Sql, log: PresenceLog, userIds: readonly string[]): Promise<void> {
  const rows = userIds.flatMap((userId) => {
    const { shown, activeAt = 0 } = log.find(userId) ?? {}
    if (!shown || (shown.state === 'offline' && shown.statusMsg === undefined)) return []
    const { state: presence, statusMsg: status_msg = null } = shown
    return [{ user_id: userId, presence, status_msg, active_at: activeAt }]
  })
  const kept = new Set(rows.map((row) => row.user_id))
  const gone = userIds.filter((userId) => !kept.has(userId))
  if (rows.length > 0) await stored.put(sql, rows)
  if (gone.length > 0) await stored.remove(sql, gone)
}
