import { parseJson } from '#core/canonical-json.ts'
import { historyVisibilityOf } from '#core/content/m.room.history_visibility.ts'
import { membershipOf, type Membership } from '#core/content/m.room.member.ts'
import { redactJsonForServers } from '#core/event/redact.ts'
import { domainOf } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import { isVisibleToServer } from '#core/visibility.ts'
import type { Sql } from '#store/db.ts'
import * as serve from '#store/federation/serve.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as readKeys from '#store/room/read-keys.ts'
import { type Erased, erasedFor } from './erased.ts'
import { findRoom } from './room.ts'
import type { RoomRef } from './room.ts'
import type { Snapshots } from './snapshots.ts'

/** What reading for other servers needs of the context. */
export type ServedReader = {
  readonly sql: Sql
  readonly snapshots: Snapshots
  readonly erased?: Erased
}

/** An event by its ID, and its room; undefined if it is unknown here. */
export async function findServed(
  sql: Sql,
  eventId: string,
): Promise<{ row: serve.ServedRow; room: RoomRef } | undefined> {
  const row = await serve.byId(sql, packEventId(eventId))
  const room = row && (await findRoom(sql, row.room_id))
  // Another spelling of the same hash is another ID.
  const isAsked = row && room && unpackEventId(row.event_id, room.version) === eventId
  return isAsked ? { row, room } : undefined
}

/** The numbers of events of a room that are known here. */
export function knownNids(sql: Sql, room: RoomRef, eventIds: readonly string[]): Promise<number[]> {
  return serve.nidsOf(sql, room.shard, room.roomNid, eventIds.map(packEventId))
}

/** Events that are rejected are not relayed. */
export const isRelayed = ({ flags }: { flags: number }): boolean => (flags & 1) === 0

/**
 * The federation form of some events, as the texts that were hashed and signed. An event that was
 * redacted comes redacted, and so does one that no user of the asking server may see: the server needs
 * it for the graph, and its content is none of its business.
 */
export async function textsFor(
  reader: ServedReader,
  room: RoomRef,
  origin: string,
  rows: readonly serve.ServedRow[],
): Promise<Map<number, string>> {
  const [hidden, erased] = await Promise.all([
    hiddenFrom(reader, room, origin, rows),
    erasedFor(reader, room, origin, rows),
  ])
  return new Map(
    rows.map((row) => {
      const isHidden = hidden.has(row.event_nid) || erased.has(row.event_nid)
      return [row.event_nid, isHidden ? redactedText(room, row) : servedText(room, row)]
    }),
  )
}

/** What other servers get of an event that is redacted. */
export const redactedText = ({ version }: RoomRef, { json }: serve.ServedRow): string =>
  redactJsonForServers(version, json)

/** The text of one event, redacted if a redaction counts. */
export const servedText = (room: RoomRef, row: serve.ServedRow): string =>
  row.redacted ? redactedText(room, row) : row.json

/** Which of some events no user of a server may see. */
export async function hiddenFrom(
  { sql, snapshots }: ServedReader,
  { shard, roomNid }: RoomRef,
  origin: string,
  rows: readonly serve.ServedRow[],
): Promise<Set<number>> {
  const hidden = new Set<number>()
  const visibilityKey = await serve.visibilityKey(sql)
  // A room whose visibility was never set is `shared`.
  if (visibilityKey === undefined) return hidden
  const before = [...new Set(rows.flatMap((row) => row.snapshot_nid ?? []))]
  const visibilities = await snapshots.lookup(sql, before, [visibilityKey])
  const contents = await contentsOf(sql, visibilities)
  const strict = rows.filter(({ snapshot_nid: snapshot }) => {
    const nid = snapshot === null ? undefined : visibilities.get(snapshot)?.get(visibilityKey)
    const visibility = historyVisibilityOf(nid === undefined ? undefined : contents.get(nid))
    return visibility === 'joined' || visibility === 'invited'
  })
  if (strict.length === 0) return hidden

  const keys = await serve.memberKeys(sql, shard, roomNid, origin)
  const stateNids = [...new Set(strict.map((row) => row.snapshot_nid!))]
  const members = await snapshots.lookup(sql, stateNids, keys)
  const memberContents = await contentsOf(sql, members)
  for (const row of strict) {
    const visibilityNid = visibilities.get(row.snapshot_nid!)?.get(visibilityKey)
    const visibility = historyVisibilityOf(contents.get(visibilityNid!))
    const memberships = new Set<Membership>()
    for (const nid of members.get(row.snapshot_nid!)?.values() ?? []) {
      const membership = membershipOf(memberContents.get(nid))
      if (membership) memberships.add(membership)
    }
    // What the event itself makes of a user of that server counts too.
    const own = ownMembership(row.json, origin)
    if (own) memberships.add(own)
    if (!isVisibleToServer(visibility, memberships)) hidden.add(row.event_nid)
  }
  return hidden
}

function ownMembership(json: string, origin: string): Membership | undefined {
  if (!json.includes('m.room.member')) return undefined
  const event = parseJson(json)
  if (!isObject(event) || event['type'] !== 'm.room.member') return undefined
  const { state_key: stateKey, content } = event
  if (typeof stateKey !== 'string' || domainOf(stateKey) !== origin) return undefined
  return isObject(content) ? membershipOf(content) : undefined
}

async function contentsOf(
  sql: Sql,
  states: ReadonlyMap<number, ReadonlyMap<number, number>>,
): Promise<Map<number, JsonObject>> {
  const nids = new Set<number>()
  for (const state of states.values()) for (const nid of state.values()) nids.add(nid)
  const contents = new Map<number, JsonObject>()
  if (nids.size === 0) return contents
  const list = [...nids]
  for (const row of await readKeys.jsonOf(sql, list.map(shardOfNid), list)) {
    const event = parseJson(row.json)
    if (isObject(event) && isObject(event['content'])) contents.set(row.event_nid, event['content'])
  }
  return contents
}
