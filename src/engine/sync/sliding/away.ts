import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { JsonObject } from '#core/json.ts'
import { shardOfNid } from '#core/shard.ts'
import { forgottenOf } from '#engine/read/forgotten.ts'
import type { Place } from '#engine/read/places.ts'
import { readStripped } from '#engine/read/stripped.ts'
import type { Sql } from '#store/db.ts'
import * as readActivity from '#store/room/read-activity.ts'
import * as readMembers from '#store/room/read-members.ts'
import { type Traits, readTraits, traitsOf } from './room-index.ts'

/** What is known of a membership that is not a join. It never changes. */
export type Away = {
  readonly sender: string
  readonly sentAt: number
  /** Up to where they were joined; undefined: they never were. */
  readonly until: number | undefined
  /** Undefined: nothing is known of the room's state that they may see. */
  readonly traits: Traits | undefined
}

/** A place with an event that says so. */
type Said = Place & { readonly eventNid: number }

/** Rooms that users are asked into, or that they left: kept by the member event. */
export class AwayRooms {
  readonly #kept = new LRUCache<number, Away>(atMost(200_000))

  /** By room number. The number of statements does not grow with the rooms. */
  async read(sql: Sql, userId: string, places: readonly Place[]): Promise<Map<number, Away>> {
    const found = new Map<number, Away>()
    const missing: Said[] = []
    for (const place of places) {
      if (place.eventNid === undefined) continue
      const kept = this.#kept.get(place.eventNid)
      if (kept) found.set(place.roomNid, kept)
      else missing.push(place as Said)
    }
    if (missing.length === 0) return found
    const nids = missing.map((place) => place.eventNid)
    const asked = missing.filter(isAsked)
    const departed = missing.filter((place) => !isAsked(place))
    const at = departed.map(({ shard, roomNid, position }) => ({ shard, roomNid, at: position }))
    const [senders, stripped, left] = await Promise.all([
      readActivity.senders(sql, nids.map(shardOfNid), nids),
      readStripped(sql, asked),
      at.length ? readMembers.lastLeft(sql, at, userId) : [],
    ])
    const until = new Map(left.map((row) => [row.room_nid, row.position]))
    const wasIn = at.filter(({ roomNid }) => until.has(roomNid))
    const traits = wasIn.length ? await readTraits(sql, wasIn) : new Map<number, Traits>()
    const bySender = new Map(senders.map((row) => [row.event_nid, row]))
    for (const { roomNid, eventNid } of missing) {
      const event = bySender.get(eventNid)
      if (!event) continue
      const away: Away = {
        sender: event.sender,
        sentAt: event.ts,
        until: until.get(roomNid),
        traits: traits.get(roomNid) ?? traitsIn(stripped.get(roomNid)?.state),
      }
      this.#kept.set(eventNid, away)
      found.set(roomNid, away)
    }
    return found
  }

  /**
   * Rooms that the user was in and has not forgotten: those that somebody else took them out of, and
   * those that they ask for by name.
   */
  async visible(
    sql: Sql,
    userId: string,
    departed: readonly Place[],
    away: ReadonlyMap<number, Away>,
    named: { has(roomId: string): boolean },
  ): Promise<Place[]> {
    const seen = departed.filter(({ roomNid, roomId }) => {
      const known = away.get(roomNid)
      return known?.until !== undefined && (known.sender !== userId || named.has(roomId))
    })
    if (seen.length === 0) return seen
    const forgotten = await forgottenOf(sql, userId, seen)
    return seen.filter(({ roomNid }) => !forgotten.has(roomNid))
  }
}

export const isAsked = ({ membership }: Pick<Place, 'membership'>): boolean =>
  membership === 'invite' || membership === 'knock'

/** Not spec: an invite that came without any state says nothing of the room. */
function traitsIn(state: readonly JsonObject[] | undefined): Traits | undefined {
  if (!state || state.length < 2) return undefined
  return traitsOf(
    state.map((event) => ({
      type: event['type'] as string,
      content: event['content'] as JsonObject,
    })),
  )
}
