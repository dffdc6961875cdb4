import { Type as t } from '@sinclair/typebox'
import { accessOf, limitIn, writeEvents } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { Content, EventId, RoomId, open } from '#core/schema.ts'
import { ignoredBy } from '#engine/read/ignored.ts'
import { maxDepth, readRelations } from '#engine/read/relations.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { Context } from '#src/context.ts'

const Query = open({
  from: t.Optional(t.String()),
  to: t.Optional(t.String()),
  limit: t.Optional(t.Integer()),
  dir: t.Optional(t.Union([t.Literal('b'), t.Literal('f')])),
  recurse: t.Optional(t.Boolean()),
})

const Answer = open({
  chunk: t.Array(Content),
  next_batch: t.Optional(t.String()),
  prev_batch: t.Optional(t.String()),
  recursion_depth: t.Optional(t.Integer()),
})

const of = { roomId: RoomId, eventId: EventId }
const path = '/rooms/:roomId/relations/:eventId'

export const getRelatingEvents = op({
  id: 'getRelatingEvents',
  method: 'GET',
  path: `/_matrix/client/v1${path}`,
  also: [`/_matrix/client/unstable${path}`],
  auth: 'user',
  params: open(of),
  query: Query,
  response: Answer,
  run: ({ who, params, query }, ctx) => related(ctx, who, params, query),
})

export const getRelatingEventsWithRelType = op({
  id: 'getRelatingEventsWithRelType',
  method: 'GET',
  path: `/_matrix/client/v1${path}/:relType`,
  also: [`/_matrix/client/unstable${path}/:relType`],
  auth: 'user',
  params: open({ ...of, relType: t.String() }),
  query: Query,
  response: Answer,
  run: ({ who, params, query }, ctx) => related(ctx, who, params, query),
})

export const getRelatingEventsWithRelTypeAndEventType = op({
  id: 'getRelatingEventsWithRelTypeAndEventType',
  method: 'GET',
  path: `/_matrix/client/v1${path}/:relType/:eventType`,
  also: [`/_matrix/client/unstable${path}/:relType/:eventType`],
  auth: 'user',
  params: open({ ...of, relType: t.String(), eventType: t.String() }),
  query: Query,
  response: Answer,
  run: ({ who, params, query }, ctx) => related(ctx, who, params, query),
})

type Asked = { roomId: string; eventId: string; relType?: string; eventType?: string }

async function related(
  ctx: Context,
  who: Session,
  { roomId, eventId, relType, eventType }: Asked,
  query: typeof Query.static,
) {
  const limit = limitIn(query.limit, 50, 100)
  if (limit === 0) throw invalidParam("'limit' is not greater than zero")
  const recurse = query.recurse ?? false
  const [access, ignored] = await Promise.all([
    accessOf(ctx, who, roomId),
    ignoredBy(ctx.sql, who.userId),
  ])
  const { events, seen, next } = await readRelations(ctx, access, {
    userId: who.userId,
    ignored,
    eventId,
    relType,
    eventType,
    recurse,
    direction: query.dir ?? 'b',
    from: query.from,
    to: query.to,
    limit,
  })
  return {
    chunk: await writeEvents(ctx, who, events, seen),
    ...(next !== undefined && { next_batch: next }),
    ...(query.from !== undefined && { prev_batch: query.from }),
    ...(recurse && { recursion_depth: maxDepth }),
  }
}
