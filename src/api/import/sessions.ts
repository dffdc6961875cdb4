import { type Static, Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { ownerOf, sessionOf, tellSession } from '#api/import/parts/session.ts'
import { invalidParam } from '#core/error.ts'
import { EventId, open, RoomId } from '#core/schema.ts'
import type { ImportPosition } from '#engine/worker/import-steps.ts'
import { findRoom } from '#engine/read/room.ts'
import * as sessions from '#store/import/sessions.ts'
import type { Context } from '#src/context.ts'

// History from elsewhere into rooms: `docs/import-api.md`.

const path = '/_laneway/import/v1/sessions'
const params = open({ sessionId: t.String() })
/** Steps of one caller at once: they take their turns anyway. */
const atOnce = 8
const maxListed = 1_000

const Position = t.Union([
  open({ before: EventId }),
  open({ after: EventId }),
  open({ at_start: t.Literal(true) }),
  open({ by_time: t.Literal(true) }),
])

export const openImport = op({
  id: 'openImport',
  method: 'POST',
  path,
  auth: 'importer',
  atOnce,
  body: open({
    room_id: RoomId,
    source: t.String({ minLength: 1, maxLength: 255 }),
    mode: t.Union([
      t.Literal('fresh'),
      t.Literal('archive'),
      t.Literal('insert'),
      t.Literal('append'),
    ]),
    position: t.Optional(t.Union([Position, t.Null()])),
    federate: t.Optional(t.Boolean()),
    dry_run: t.Optional(t.Boolean()),
    live_room_id: t.Optional(t.Union([RoomId, t.Null()])),
  }),
  response: open({ mode: t.String(), warnings: t.Array(t.String()) }),

  async run({ who, body }, ctx) {
    const { room_id: roomId, source, mode, federate = false, dry_run: dryRun = false } = body
    if (source.includes('\0') || !source.isWellFormed())
      throw invalidParam('`source` is not a text')
    const liveRoom = body.live_room_id ?? null
    if ((mode === 'archive') !== (liveRoom !== null))
      throw invalidParam('`live_room_id` goes with the mode `archive`, and only with it')
    if (liveRoom !== null && !(await findRoom(ctx.sql, liveRoom)))
      throw invalidParam('The live room is not known here')
    if (mode === 'insert' && !body.position)
      throw invalidParam('`insert` needs a `position`: before, after, at_start or by_time')
    const { userId, admin: isAdmin } = who
    const answer = await ctx.rooms.call('importHistory', roomId, {
      step: 'open',
      owner: ownerOf(who),
      userId,
      isAdmin,
      source,
      mode,
      position: positionOf(body.position),
      federate,
      dryRun,
      liveRoom,
    })
    return jsonText(answer)
  },
})

function positionOf(position: Static<typeof Position> | null | undefined): ImportPosition | null {
  if (!position) return null
  if ('before' in position) return { before: position.before }
  if ('after' in position) return { after: position.after }
  return 'at_start' in position ? { atStart: true } : { byTime: true }
}

export const listImports = op({
  id: 'listImports',
  method: 'GET',
  path,
  auth: 'importer',
  query: open({ room_id: t.Optional(t.String()), source: t.Optional(t.String()) }),
  response: open({ sessions: t.Array(open({ session_id: t.String() })) }),

  async run({ who, query }, ctx) {
    const rows = await sessions.list(ctx.sql, {
      roomId: query.room_id,
      source: query.source,
      owner: who.admin ? undefined : ownerOf(who),
      limit: maxListed,
    })
    return { sessions: await tell(ctx, rows) }
  },
})

async function tell({ sql }: Context, rows: readonly sessions.SessionRow[]) {
  const open = rows.filter(({ state }) => state === 'open')
  const waiting = await sessions.waitingIn(sql, open)
  return rows.map((row) => tellSession(row, waiting.get(row.session_nid) ?? 0))
}

export const getImport = op({
  id: 'getImport',
  method: 'GET',
  path: `${path}/:sessionId`,
  auth: 'importer',
  params,
  response: open({ session_id: t.String(), state: t.String(), next_batch: t.Integer() }),

  async run({ who, params: { sessionId } }, ctx) {
    const [told] = await tell(ctx, [await sessionOf(ctx, who, sessionId)])
    return told!
  },
})
