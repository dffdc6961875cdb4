import { invalidParam } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import * as importChains from '#store/room/import-chains.ts'
import type { Staging } from '#engine/room/import/staging.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { ImportPosition } from '#engine/worker/import-steps.ts'

/** The event before which an import is to be read; undefined: it is read after all others. */
export function* followingOf(
  parts: Parts,
  room: Room,
  position: ImportPosition | null,
  firstTs: number,
): Task<importChains.PlaceRow | undefined> {
  const { sql } = parts
  const { shard, nid } = room
  if (position === null) return undefined
  if ('atStart' in position) {
    const first = yield* wait(importChains.firstMessage(sql, shard, nid))
    return first && (yield* wait(importChains.beginningOf(sql, shard, first)))
  }
  if ('byTime' in position) return yield* wait(importChains.firstAfter(sql, shard, nid, firstTs))
  const eventId = 'before' in position ? position.before : position.after
  const known = (yield* parts.events.byIds(room, [eventId])).get(eventId)
  if (!known || known.chain === null || known.chainIndex === null)
    throw invalidParam('The event at which to import is not in the room’s history')
  const place = { chain: known.chain, index: known.chainIndex }
  const state = yield* wait(importChains.stateOf(sql, shard, place.chain))
  if (state && (state.published_at === null || state.hidden_at !== null))
    throw invalidParam('The event at which to import is not in the room’s history')
  if ('after' in position) return yield* wait(importChains.nextTo(sql, shard, nid, place, 'after'))
  const { depth } = known.event
  return { event_nid: known.nid, chain: place.chain, chain_index: place.index, depth }
}

/**
 * How deep an event of ours is. Other servers order by that: where the operator wants it, the first message of a
 * room that was made here leaves so many numbers free below it that whatever is imported finds its own.
 *
 * Not spec: it should be one more than that of what it cites.
 */
export function depthBehind(
  { limits, signing }: Parts,
  room: Room,
  prevs: readonly { event: { depth: number } }[],
  isMessage: boolean,
): number {
  const depth = 1 + Math.max(0, ...prevs.map(({ event }) => event.depth))
  const isOurs = room.create !== undefined && domainOf(room.create.sender) === signing.serverName
  return isMessage && isOurs ? Math.max(depth, limits.messageDepth) : depth
}

/** A gap in the depths that is worth it: other servers order by them. */
const roomy = 2 ** 20
/** What may be said in a room, at most, while history that goes behind it is imported. */
const meanwhile = 2 ** 16

/** Users of other servers are in the room. */
export const hasOthers = ({ signing }: Parts, room: Room): boolean =>
  [...room.servers.values()].some(({ name, joined }) => joined > 0 && name !== signing.serverName)

/**
 * The depths of an import's events. At the end of the room they are those that any events would have, but
 * for a gap that other servers fill with what is said meanwhile;
 * within it they are numbered inside the gap that was left there, or are all that of what is read next:
 * of what is equally deep, other servers read first what they got last.
 */
export function* planDepth(
  parts: Parts,
  room: Room,
  { wish, row }: Staging,
  firstTs: number,
): Task<{ depth: number; dense: boolean }> {
  const { sql } = parts
  const next = yield* followingOf(parts, room, wish.position, firstTs)
  if (!next) {
    const anchors = yield* parts.events.byNids(room, row.anchors)
    const depth = 1 + Math.max(...[...anchors.values()].map(({ event }) => event.depth))
    // The beginning of a room is in the middle of the gap before its first message.
    const free = depthBehind(parts, room, [...anchors.values()], true) - depth
    if (free > roomy) return { depth: depth + Math.floor(free / 2), dense: true }
    return { depth: depth + (hasOthers(parts, room) ? meanwhile : 0), dense: true }
  }
  const place = { chain: next.chain, index: next.chain_index }
  const before = yield* wait(importChains.nextTo(sql, room.shard, room.nid, place, 'before'))
  const gap = next.depth - (before?.depth ?? 0)
  // Room is left on both sides for imports to come.
  if (gap > roomy) return { depth: next.depth - Math.floor(gap / 2), dense: true }
  return { depth: next.depth, dense: false }
}
