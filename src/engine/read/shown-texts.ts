import { redactJson } from '#core/event/redact.ts'
import { roomVersions } from '#core/room-version.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readKeys from '#store/room/read-keys.ts'

/** The JSON of events by their numbers, without what was taken back. */
export async function shownTexts(
  sql: Sql,
  nids: readonly number[],
): Promise<ReadonlyMap<number, string>> {
  const texts = new Map<number, string>()
  if (nids.length === 0) return texts
  for (const row of await readKeys.shownJsonOf(sql, nids.map(shardOfNid), nids)) {
    const version = row.redacted ? roomVersions.get(row.version) : undefined
    texts.set(row.event_nid, version ? redactJson(version, row.json) : row.json)
  }
  return texts
}
