import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { open } from '#core/schema.ts'

export const pingAppservice = op({
  id: 'pingAppservice',
  method: 'POST',
  path: '/_matrix/client/v1/appservice/:appserviceId/ping',
  // MSC2659
  also: ['/_matrix/client/unstable/fi.mau.msc2659/appservice/:appserviceId/ping'],
  auth: 'appservice',
  params: open({ appserviceId: t.String() }),
  body: open({ transaction_id: t.Optional(t.String({ maxLength: 255 })) }),
  response: open({ duration_ms: t.Integer() }),

  async run({ who: { appservice }, params: { appserviceId: id }, body }, ctx) {
    if (appservice.id !== id) throw forbidden('The access token is that of another')
    const took = await ctx.bridges.questions.ping(id, body.transaction_id)
    ctx.bridges.heardFrom(appservice)
    return { duration_ms: took }
  },
})
