import { Type as t } from '@sinclair/typebox'
import { invalidParam } from '#core/error.ts'
import { isEventIdOf } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { maxAtOnce } from '#api/http/rate-limit.ts'
import { jsonText } from '#api/http/reply.ts'
import { isRelayed, knownNids, textsFor } from '#engine/read/federation-events.ts'
import { requireInRoom } from '#engine/read/federation-room.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import type { Context } from '#src/context.ts'
import * as serve from '#store/federation/serve.ts'

/** Not spec: what one answer may hold; the largest rooms send 64 KiB an event. */
const maxBackfill = 100
const maxMissing = 50
/** Not spec: more events than a sound server asks about. */
const maxAskedAbout = 100

export const backfillRoom = op({
  id: 'backfillRoom',
  method: 'GET',
  path: '/_matrix/federation/v1/backfill/:roomId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params: open({ roomId: RoomId }),
  query: open({
    v: t.Array(t.String(), { minItems: 1, maxItems: maxAskedAbout }),
    limit: t.Integer({ minimum: 1 }),
  }),

  async run({ who, params, query }, ctx) {
    const room = await requireInRoom(ctx, params.roomId, who.origin)
    const start = await nidsOf(ctx, room, query.v)
    const limit = Math.min(query.limit, maxBackfill)
    const events = await served(ctx, room, who.origin, await walkDown(ctx, room, start, limit))
    // Newest first, as the network does it.
    const pdus = events.sort((a, b) => b.depth - a.depth).map(({ text }) => text)
    const head = { origin: ctx.serverName, origin_server_ts: ctx.clock() }
    return jsonText(`${JSON.stringify(head).slice(0, -1)},"pdus":[${pdus.join(',')}]}`)
  },
})

const EventIds = t.Array(t.String(), { maxItems: maxAskedAbout })

export const getMissingPreviousEvents = op({
  id: 'getMissingPreviousEvents',
  method: 'POST',
  path: '/_matrix/federation/v1/get_missing_events/:roomId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params: open({ roomId: RoomId }),
  body: open({
    earliest_events: EventIds,
    latest_events: EventIds,
    limit: t.Optional(t.Integer()),
    min_depth: t.Optional(t.Integer()),
  }),

  async run({ who, params, body }, ctx) {
    const room = await requireInRoom(ctx, params.roomId, who.origin)
    const [latest, earliest] = await Promise.all([
      nidsOf(ctx, room, body.latest_events),
      nidsOf(ctx, room, body.earliest_events),
    ])
    const limit = Math.max(0, Math.min(body.limit ?? 10, maxMissing))
    // The events that were asked about are there already: the walk begins with them, and takes
    // as many more.
    const nids = await serve.walkBack(ctx.sql, room.shard, latest, {
      stop: earliest,
      minDepth: Math.max(0, body.min_depth ?? 0),
      limit: limit + latest.length,
    })
    const walked = await served(ctx, room, who.origin, nids)
    const known = new Set(latest)
    const missing = walked.filter(({ nid }) => !known.has(nid)).slice(0, limit)
    const events = missing.sort((a, b) => a.depth - b.depth).map(({ text }) => text)
    return jsonText(`{"events":[${events.join(',')}]}`)
  },
})

function nidsOf({ sql }: Context, room: RoomRef, eventIds: readonly string[]): Promise<number[]> {
  const odd = eventIds.find((id) => !isEventIdOf(room.version, id))
  if (odd !== undefined) throw invalidParam(`'${odd}' is not an event ID of the room's version`)
  return knownNids(sql, room, eventIds)
}

async function walkDown(
  { sql }: Context,
  { shard, roomNid }: RoomRef,
  start: readonly number[],
  limit: number,
): Promise<number[]> {
  if (start.length === 0) return []
  const walk = (minDepth: number, history: boolean) =>
    serve.walkDown(sql, shard, start, { minDepth, limit, history })
  const depth = await serve.historyDepth(sql, shard, roomNid, start)
  if (depth === null) return (await walk(0, false)).slice(0, limit)
  // MSC2716: first the history that was put in, which nothing else leads to.
  const first = await walk(depth, true)
  const more = first.length < limit ? await walk(0, true) : []
  return [...new Set([...first, ...more])].slice(0, limit)
}

/** Events in the order of a walk, nearest first. */
async function served(
  ctx: Context,
  room: RoomRef,
  origin: string,
  nids: readonly number[],
): Promise<{ nid: number; depth: number; text: string }[]> {
  if (nids.length === 0) return []
  const rows = (await serve.byNids(ctx.sql, room.shard, nids)).filter(isRelayed)
  const texts = await textsFor(ctx, room, origin, rows)
  const byNid = new Map(rows.map((row) => [row.event_nid, row]))
  return nids.flatMap((nid) => {
    const row = byNid.get(nid)
    return row ? [{ nid, depth: row.depth, text: texts.get(nid)! }] : []
  })
}
