import { membershipOf } from '#core/content/m.room.member.ts'
import type { HistoryVisibility } from '#core/content/m.room.history_visibility.ts'
import { isVisible } from '#core/visibility.ts'
import type { Sql } from '#store/db.ts'
import * as readMembers from '#store/room/read-members.ts'
import type { ReadEvent } from './events.ts'
import type { RoomRef } from './room-ref.ts'
import type { Snapshots } from './snapshots.ts'
import { StateFacts } from './state-facts.ts'

// Up to where a reader was joined: for ever, up to a position, or never.
export const stillJoined = Infinity
export const neverJoined = -1

/** How far a user who is not joined any more may look: up to where they last left. */
export async function joinedUntil(
  sql: Sql,
  room: RoomRef,
  userId: string,
  standing: { membership: string; position: number } | undefined,
): Promise<number> {
  if (!standing) return neverJoined
  if (standing.membership === 'join') return stillJoined
  const [left] = await readMembers.lastLeft(
    sql,
    [{ shard: room.shard, roomNid: room.roomNid, at: standing.position }],
    userId,
  )
  return left?.position ?? neverJoined
}

/** What a reader was to a room at an event that they may see, and up to where they were joined. */
export type Seen = { readonly membership: string; readonly joinedUntil: number }

/** An event, and up to where the reader was joined to its room. */
export type Ask = { readonly event: ReadEvent; readonly joinedUntil: number }

/**
 * Those of some events, of any rooms, that their reader may see. It asks the state before each event
 * for two keys, with a number of statements that does not grow with the events.
 */
export async function visible(
  sql: Sql,
  snapshots: Snapshots,
  userId: string,
  asks: readonly Ask[],
): Promise<Map<number, Seen>> {
  const seen = new Map<number, Seen>()
  if (asks.length === 0) return seen
  const facts = snapshots.facts ?? new StateFacts()
  const [visibilityKey, memberKey] = await facts.keys(sql, [
    { type: 'm.room.history_visibility', stateKey: '' },
    { type: 'm.room.member', stateKey: userId },
  ])
  const keys = [visibilityKey, memberKey].filter((key) => key !== undefined)
  const wanted = new Set<number>()
  for (const { event } of asks) if (event.snapshot !== undefined) wanted.add(event.snapshot)
  const states = await snapshots.lookup(sql, [...wanted], keys)
  const nids = new Set<number>()
  for (const state of states.values()) for (const nid of state.values()) nids.add(nid)
  const said = await facts.events(sql, nids)
  for (const { event, joinedUntil: until } of asks) {
    const state = event.snapshot === undefined ? undefined : states.get(event.snapshot)
    const find = (key: number | undefined) => {
      const nid = key === undefined ? undefined : state?.get(key)
      return nid === undefined ? undefined : said.get(nid)
    }
    // Not spec: of an event whose state is not known, only what everyone in the room may see.
    const visibility: HistoryVisibility = find(visibilityKey)?.visibility ?? 'shared'
    const membership = find(memberKey)?.membership
    const joinedSince =
      event.position === undefined ? until !== neverJoined : event.position <= until
    if (!isVisible(event.event, userId, { visibility, membership, joinedSince })) continue
    const { type, stateKey } = event.event
    const own = type === 'm.room.member' && stateKey === userId
    seen.set(event.nid, {
      membership: (own ? membershipOf(event.event.content) : membership) ?? 'leave',
      joinedUntil: until,
    })
  }
  return seen
}

/** All of them, as whoever may look at everything is given them, whatever they are to the room. */
export const unseen = (asks: readonly Ask[]): Map<number, Seen> =>
  new Map(
    asks.map(({ event, joinedUntil: until }) => [
      event.nid,
      { membership: 'leave', joinedUntil: until },
    ]),
  )
