import { Type as t } from '@sinclair/typebox'
import type { Json } from '#core/json.ts'
import { open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'

/** 50 PDUs of 64 KiB with what `unsigned` adds, and 100 EDUs, few of which are as large. */
const maxBytes = 10 * 1024 * 1024

export const sendTransaction = op({
  id: 'sendTransaction',
  method: 'PUT',
  path: '/_matrix/federation/v1/send/:txnId',
  auth: 'server',
  maxBytes,
  params: open({ txnId: t.String({ minLength: 1, maxLength: 255 }) }),
  body: open({
    pdus: t.Array(t.Unknown(), { maxItems: 50 }),
    edus: t.Optional(t.Array(t.Unknown(), { maxItems: 100 })),
  }),

  async run({ who, params, body, request }, ctx) {
    const transaction = { pdus: body.pdus as Json[], edus: (body.edus ?? []) as Json[] }
    const bytes = request.text?.length ?? 0
    // An answer may be held back for long: what it answers is not kept in memory for that.
    request.text = undefined
    request.json = undefined
    const onDone = () => request.held?.release()
    return jsonText(await ctx.intake.take(who.origin, params.txnId, transaction, { bytes, onDone }))
  },
})
