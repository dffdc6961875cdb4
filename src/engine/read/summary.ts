import { parseJson } from '#core/canonical-json.ts'
import { canonicalAliasOf } from '#core/content/m.room.canonical_alias.ts'
import type { JsonObject } from '#core/json.ts'
import type { Sql } from '#store/db.ts'
import * as readMembers from '#store/room/read-members.ts'
import * as readRooms from '#store/room/read-rooms.ts'
import * as readState from '#store/room/read-state.ts'
import { shownTexts } from './shown-texts.ts'

/** What a client needs to name a room without its members. */
export type Summary = {
  /** Undefined: the room has a name. */
  readonly heroes: readonly string[] | undefined
  readonly joined: number
  readonly invited: number
}

const maxHeroes = 5

/**
 * Summaries of rooms for one of their members. The counts are those last committed: a change after
 * the position is told again with the next one.
 */
export async function readSummaries(
  sql: Sql,
  userId: string,
  rooms: readonly readState.RoomAt[],
): Promise<Map<number, Summary>> {
  const found = new Map<number, Summary>()
  if (rooms.length === 0) return found
  const shards = rooms.map((room) => room.shard)
  const nids = rooms.map((room) => room.roomNid)
  const [counts, named, heroes] = await Promise.all([
    readRooms.counts(sql, nids, shards),
    namedRooms(sql, rooms),
    readMembers.heroes(sql, shards, nids, userId),
  ])
  const candidates = Map.groupBy(heroes, (row) => row.room_nid)
  for (const { room_nid: roomNid, joined, invited } of counts) {
    found.set(roomNid, {
      heroes: named.has(roomNid) ? undefined : choose(candidates.get(roomNid) ?? []),
      joined,
      invited,
    })
  }
  return found
}

/** Those who are there, or, if nobody is, those who were. */
function choose(candidates: readonly readMembers.HeroRow[]): string[] {
  const present = candidates.filter(
    ({ membership }) => membership === 'join' || membership === 'invite',
  )
  return (present.length > 0 ? present : candidates).slice(0, maxHeroes).map((hero) => hero.user_id)
}

async function namedRooms(
  sql: Sql,
  rooms: readonly readState.RoomAt[],
): Promise<ReadonlySet<number>> {
  const named = new Set<number>()
  const rows = await readState.keysAt(
    sql,
    ['m.room.name', 'm.room.canonical_alias'].flatMap((type) =>
      rooms.map((room) => ({ ...room, type, stateKey: '' })),
    ),
  )
  if (rows.length === 0) return named
  const nids = rows.map((row) => row.event_nid)
  const texts = await shownTexts(sql, nids)
  for (const row of rows) {
    const text = texts.get(row.event_nid)
    const content = text === undefined ? {} : contentOf(text)
    const name = row.type === 'm.room.name' ? content['name'] : canonicalAliasOf(content)
    if (typeof name === 'string' && name !== '') named.add(row.room_nid)
  }
  return named
}

const contentOf = (json: string) => (parseJson(json) as JsonObject)['content'] as JsonObject
