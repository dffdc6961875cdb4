import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { parseJson } from '#core/canonical-json.ts'
import { roomTypeOf } from '#core/content/m.room.create.ts'
import { roomNameOf } from '#core/content/m.room.name.ts'
import type { JsonObject } from '#core/json.ts'
import type { Place } from '#engine/read/places.ts'
import type { Positions } from '#engine/read/positions.ts'
import { shownTexts } from '#engine/read/shown-texts.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as readActivity from '#store/room/read-activity.ts'
import * as readState from '#store/room/read-state.ts'

/** What filters ask of a room. */
export type Traits = {
  readonly type: string | undefined
  readonly encrypted: boolean
  readonly name: string | undefined
}

/** What is known of a room, whoever is in it. */
export type RoomFacts = {
  /** Up to here, in its shard; and when it was last known that nothing is newer. */
  at: number
  readAt: number
  /** When it was last active, in milliseconds; the second as its sender says. */
  stamp: number
  sentAt: number
  /** When somebody last said something; 0: never, as far as was looked. */
  bump: number
  traits: Traits | undefined
  traitsAt: number
}

/**
 * What brings a room up where clients sort by it.
 *
 * MSC4186: `bump_stamp`
 */
const bumpTypes = [
  'm.room.create',
  'm.room.message',
  'm.room.encrypted',
  'm.sticker',
  'm.call.invite',
  'm.poll.start',
  'm.beacon_info',
]
const traitTypes = ['m.room.create', 'm.room.encryption', 'm.room.name']

/** Events of one room that are gone through for what brings it up, when it is looked at first. */
const maxScan = 200

/**
 * When rooms were last active, and what filters ask of them: kept in memory, for all users at once,
 * and read again for rooms that changed, all in one statement.
 *
 * Rooms of different shards have no order of their own, so it is one of time. Who sends an event says
 * when, and may lie: an event that came after a look cannot be older than the look, nor newer than now.
 */
export class RoomIndex {
  readonly #rooms: LRUCache<number, RoomFacts>

  constructor(max = 200_000) {
    this.#rooms = new LRUCache(atMost(max))
  }

  /**
   * Of rooms that a user is joined to, as of a vector or later; with traits if a filter asks for them.
   * `floorOf` says when a room was last known to have nothing newer than it was read with.
   */
  async read(
    { sql, positions, clock }: { sql: Sql; positions: Positions; clock: () => number },
    places: readonly Place[],
    vector: Vector,
    { withTraits, floorOf }: { withTraits: boolean; floorOf: (roomNid: number) => number },
  ): Promise<Map<number, RoomFacts>> {
    const found = new Map<number, RoomFacts>()
    const stale: readActivity.Look[] = []
    const bare: readState.RoomAt[] = []
    const now = clock()
    for (const { shard, roomNid } of places) {
      const high = vector.rooms[shard]!
      const facts = this.#rooms.get(roomNid)
      if (facts) found.set(roomNid, facts)
      if (facts && positions.roomChanged(shard, roomNid, facts.at) === false) {
        facts.at = Math.max(facts.at, high)
        facts.readAt = now
      } else {
        if (facts) facts.readAt = Math.max(facts.readAt, floorOf(roomNid))
        stale.push({
          shard,
          roomNid,
          high,
          known: facts?.at ?? 0,
          traitsAt: facts?.traits ? facts.traitsAt : -1,
        })
      }
      if (withTraits && !facts?.traits) bare.push({ shard, roomNid, at: high })
    }
    if (stale.length > 0) {
      const moved = await this.#look(sql, stale, found, now)
      if (withTraits) bare.push(...moved)
    }
    if (bare.length > 0)
      for (const [roomNid, traits] of await readTraits(sql, bare)) {
        const facts = found.get(roomNid)!
        facts.traits = traits
        facts.traitsAt = facts.at
      }
    return found
  }

  /** Answers the rooms of which traits that were known may have changed. */
  async #look(
    sql: Sql,
    looks: readonly readActivity.Look[],
    found: Map<number, RoomFacts>,
    now: number,
  ): Promise<readState.RoomAt[]> {
    const moved: readState.RoomAt[] = []
    const rows = await readActivity.activity(sql, looks, bumpTypes, traitTypes, maxScan)
    const byRoom = new Map(rows.map((row) => [row.room_nid, row]))
    for (const { shard, roomNid, high } of looks) {
      const row = byRoom.get(roomNid)
      const facts = found.get(roomNid)
      // Somebody else's look may have been later.
      if (!row || (facts && facts.at >= high)) continue
      const floor = facts?.readAt ?? 0
      const within = (ts: number) => Math.min(Math.max(ts, floor), now)
      const sentAt = row.last_ts ?? 0
      const next: RoomFacts = {
        at: high,
        readAt: now,
        stamp: within(sentAt),
        sentAt,
        bump: row.bump_ts === null ? (facts?.bump ?? 0) : within(row.bump_ts),
        traits: facts?.traits,
        traitsAt: facts?.traitsAt ?? -1,
      }
      if (row.moved) moved.push({ shard, roomNid, at: high })
      else if (next.traits) next.traitsAt = high
      found.set(roomNid, next)
      this.#rooms.set(roomNid, next)
    }
    return moved
  }
}

/** What filters ask, of rooms at positions. */
export async function readTraits(
  sql: Sql,
  rooms: readonly readState.RoomAt[],
): Promise<Map<number, Traits>> {
  const rows = await readState.keysAt(
    sql,
    traitTypes.flatMap((type) => rooms.map((room) => ({ ...room, type, stateKey: '' }))),
  )
  const texts = await shownTexts(
    sql,
    rows.flatMap((row) => (row.type === 'm.room.encryption' ? [] : [row.event_nid])),
  )
  const contents = new Map<number, { type: string; content: JsonObject }[]>()
  for (const row of rows) {
    const text = texts.get(row.event_nid)
    const content = text === undefined ? {} : contentOf(text)
    const list = contents.get(row.room_nid)
    if (list) list.push({ type: row.type, content })
    else contents.set(row.room_nid, [{ type: row.type, content }])
  }
  return new Map(rooms.map(({ roomNid }) => [roomNid, traitsOf(contents.get(roomNid) ?? [])]))
}

/** What state says of it. */
export function traitsOf(state: readonly { type: string; content: JsonObject }[]): Traits {
  const content = (type: string) => state.find((each) => each.type === type)?.content
  return {
    type: roomTypeOf(content('m.room.create') ?? {}),
    encrypted: content('m.room.encryption') !== undefined,
    name: roomNameOf(content('m.room.name')),
  }
}

const contentOf = (json: string) => (parseJson(json) as JsonObject)['content'] as JsonObject
