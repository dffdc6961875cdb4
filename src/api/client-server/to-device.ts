import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, open, record } from '#core/schema.ts'
import { sendToDevice as send } from '#engine/user/keys/send-to-device.ts'

/** Clients send to some hundred devices at once, each with an encrypted key. */
const maxBytes = 8 * 1024 * 1024

export const sendToDevice = op({
  id: 'sendToDevice',
  method: 'PUT',
  path: '/_matrix/client/v3/sendToDevice/:eventType/:txnId',
  also: [
    '/_matrix/client/r0/sendToDevice/:eventType/:txnId',
    '/_matrix/client/unstable/sendToDevice/:eventType/:txnId',
  ],
  auth: 'user',
  admits: ['guest', 'suspended'],
  maxBytes,
  params: open({ eventType: t.String(), txnId: t.String() }),
  body: open({ messages: record(Content) }),
  response: open({}),

  async run({ who, params, body }, ctx) {
    await send(ctx, {
      sender: who.userId,
      deviceId: who.deviceId ?? '',
      type: params.eventType,
      txnId: params.txnId,
      messages: body.messages as JsonObject,
    })
    return {}
  },
})
