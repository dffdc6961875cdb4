import { domainOf, isServerName } from '#core/ids.ts'
import { parseJson } from '#core/canonical-json.ts'
import { isObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import * as readEvents from '#store/room/read-events.ts'
import type { Parts } from '#engine/room/parts.ts'

/** What is kept beside a knock in a room that we are not in. */
async function keptWith(parts: Parts, nid: number) {
  const [row] = await readEvents.byNids(parts.sql, [shardOfNid(nid)], [nid])
  const kept = row?.internal ? parseJson(row.internal) : undefined
  return isObject(kept) ? kept : undefined
}

/** The server that took a knock. */
export async function knockedVia(parts: Parts, nid: number): Promise<string | undefined> {
  const via = (await keptWith(parts, nid))?.['knocked_via']
  return typeof via === 'string' && isServerName(via) ? via : undefined
}

/**
 * The servers that may be heard about a knock: the one that took it, and those of the users who made
 * the room what it is, as far as that was shown. Anybody else in the room could only pretend.
 */
export async function knockJudges(parts: Parts, nid: number): Promise<ReadonlySet<string>> {
  const kept = await keptWith(parts, nid)
  const judges = new Set<string>()
  const via = kept?.['knocked_via']
  if (typeof via === 'string') judges.add(via)
  const state = kept?.['knock_room_state']
  for (const event of Array.isArray(state) ? state : []) {
    const sender =
      isObject(event) && event['type'] !== 'm.room.member' ? event['sender'] : undefined
    const server = typeof sender === 'string' ? domainOf(sender) : undefined
    if (server !== undefined) judges.add(server)
  }
  return judges
}
