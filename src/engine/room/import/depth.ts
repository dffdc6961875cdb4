import { invalidParam } from '#core/error.ts'
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
  if ('atStart' in position) return yield* wait(importChains.firstMessage(sql, shard, nid))
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

/** A gap in the depths that is worth it: other servers order by them. */
const roomy = 2 ** 20

/**
 * The depths of an import's events. At the end of the room they are those that any events would have;
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
    const depths = [...anchors.values()].map(({ event }) => event.depth)
    return { depth: Math.max(...depths) + 1, dense: true }
  }
  const place = { chain: next.chain, index: next.chain_index }
  const before = yield* wait(importChains.nextTo(sql, room.shard, room.nid, place, 'before'))
  const gap = next.depth - (before?.depth ?? 0)
  // Room is left on both sides for imports to come.
  if (gap > roomy) return { depth: next.depth - Math.floor(gap / 2), dense: true }
  return { depth: next.depth, dense: false }
}
