import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { allBatches, type BatchBody, readBatch } from '#api/import/parts/body.ts'
import { preparePeople } from '#api/import/parts/people.ts'
import { sessionOf } from '#api/import/parts/session.ts'
import { conflict, invalidParam, notFound } from '#core/error.ts'
import { open, record } from '#core/schema.ts'
import { findRoom } from '#engine/read/room.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as records from '#store/import/records.ts'
import type { SessionRow } from '#store/import/sessions.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import type { Context } from '#src/context.ts'

const path = '/_laneway/import/v1/sessions/:sessionId'
const atOnce = 8
const maxLookedUp = 1_000

export const sendImportBatch = op({
  id: 'sendImportBatch',
  method: 'PUT',
  path: `${path}/batches/:batch`,
  auth: 'importer',
  atOnce,
  params: open({ sessionId: t.String(), batch: t.String() }),
  streams: true,
  response: open({
    next_batch: t.Integer(),
    accepted: t.Integer(),
    duplicates: t.Integer(),
    waiting: t.Integer(),
    failed: t.Array(open({ src_id: t.String(), errcode: t.String(), error: t.String() })),
  }),

  async run({ who, params, request }, ctx) {
    const batch = Number(params.batch)
    if (!/^\d{1,9}$/.test(params.batch)) throw invalidParam('A batch has a number, from 0 on')
    const session = await sessionOf(ctx, who, params.sessionId)
    if (batch > session.next_batch)
      throw conflict(`The next batch is ${session.next_batch}`, { next_batch: session.next_batch })
    const held = allBatches.hold()
    try {
      return jsonText(
        await take(ctx, who, { session, batch, body: await readBatch(request, held) }),
      )
    } finally {
      held.release()
    }
  },
})

async function take(
  ctx: Context,
  who: Session,
  { session, batch, body }: { session: SessionRow; batch: number; body: BatchBody },
): Promise<string> {
  const isNew = batch === session.next_batch
  return ctx.rooms.call('importHistory', session.room_id, {
    step: 'batch',
    sessionId: session.session_id,
    batch,
    people: isNew ? await preparePeople(ctx, who, session.mode, body.people) : [],
    records: isNew ? body.records.map((record) => `${record}\n`).join('') : '',
    isAdmin: who.admin,
  })
}

/** Which events the records of a session's room and source became. */
export const findImportedEvents = op({
  id: 'findImportedEvents',
  method: 'POST',
  path: `${path}/events`,
  auth: 'importer',
  atOnce,
  params: open({ sessionId: t.String() }),
  body: open({ src_ids: t.Array(t.String({ maxLength: 255 }), { maxItems: maxLookedUp }) }),
  response: open({ events: record(t.String()) }),

  async run({ who, params: { sessionId }, body }, ctx) {
    const session = await sessionOf(ctx, who, sessionId)
    const room = await findRoom(ctx.sql, session.room_id)
    if (!room) throw notFound('The room is gone')
    const wanted = body.src_ids.filter((name) => !name.includes('\0'))
    const rows = await records.events(
      ctx.sql,
      { shard: session.shard, roomNid: session.room_nid, source: session.source },
      wanted,
    )
    const events = rows.map((row) => [row.src_id, unpackEventId(row.event_id, room.version)])
    return { events: Object.fromEntries(events) as Record<string, string> }
  },
})
