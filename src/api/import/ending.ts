import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { linkRooms } from '#api/import/parts/link-rooms.ts'
import { sessionOf } from '#api/import/parts/session.ts'
import { open } from '#core/schema.ts'

const path = '/_laneway/import/v1/sessions/:sessionId'
const params = open({ sessionId: t.String() })
const atOnce = 8
const Told = open({ session_id: t.String() })

/** Makes an import readable, once and for all: asked again, it answers the same. */
export const commitImport = op({
  id: 'commitImport',
  method: 'POST',
  path: `${path}/commit`,
  auth: 'importer',
  atOnce,
  params,
  response: Told,

  async run({ who, params: { sessionId } }, ctx) {
    const session = await sessionOf(ctx, who, sessionId)
    const answer = await ctx.rooms.call('importHistory', session.room_id, {
      step: 'commit',
      sessionId,
      isAdmin: who.admin,
    })
    if (session.mode === 'archive') await linkRooms(ctx, session, answer)
    return jsonText(answer)
  },
})

/** Drops what was not made readable. */
export const abortImport = op({
  id: 'abortImport',
  method: 'POST',
  path: `${path}/abort`,
  auth: 'importer',
  atOnce,
  params,
  response: Told,

  async run({ who, params: { sessionId } }, ctx) {
    const { room_id: roomId } = await sessionOf(ctx, who, sessionId)
    const wish = { step: 'abort', sessionId, isAdmin: who.admin } as const
    return jsonText(await ctx.rooms.call('importHistory', roomId, wish))
  },
})

/** Takes what was made readable away again. */
export const undoImport = op({
  id: 'undoImport',
  method: 'POST',
  path: `${path}/undo`,
  auth: 'importer',
  atOnce,
  params,
  response: Told,

  async run({ who, params: { sessionId } }, ctx) {
    const { room_id: roomId } = await sessionOf(ctx, who, sessionId)
    const wish = { step: 'undo', sessionId, isAdmin: who.admin } as const
    return jsonText(await ctx.rooms.call('importHistory', roomId, wish))
  },
})
