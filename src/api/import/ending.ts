import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { linkRooms } from '#api/import/parts/link-rooms.ts'
import { sessionOf } from '#api/import/parts/session.ts'
import { open } from '#core/schema.ts'
import type { ImportEnd } from '#engine/worker/import-steps.ts'

const atOnce = 8

/** One way to end a session: asked again, it answers the same. */
const ending = (step: ImportEnd['step']) =>
  op({
    id: `${step}Import`,
    method: 'POST',
    path: `/_laneway/import/v1/sessions/:sessionId/${step}`,
    auth: 'importer',
    atOnce,
    params: open({ sessionId: t.String() }),
    response: open({ session_id: t.String() }),

    async run({ who, params: { sessionId } }, ctx) {
      const session = await sessionOf(ctx, who, sessionId)
      const wish = { step, sessionId, isAdmin: who.admin }
      const answer = await ctx.rooms.call('importHistory', session.room_id, wish)
      if (step === 'commit' && session.mode === 'archive') await linkRooms(ctx, session, answer)
      return jsonText(answer)
    },
  })

/** Makes an import readable. */
export const commitImport = ending('commit')
/** Drops what was not made readable. */
export const abortImport = ending('abort')
/** Takes what was made readable away again. */
export const undoImport = ending('undo')
