import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { isShortText } from '#core/ids.ts'
import { EventId, RoomId, open } from '#core/schema.ts'

const types = ['m.read', 'm.read.private', 'm.fully_read'] as const

export const postReceipt = op({
  id: 'postReceipt',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/receipt/:receiptType/:eventId',
  also: ['/_matrix/client/r0/rooms/:roomId/receipt/:receiptType/:eventId'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'message',
  params: open({ roomId: RoomId, receiptType: t.String(), eventId: EventId }),
  body: open({ thread_id: t.Optional(t.Unknown()) }),
  response: t.Object({}, { additionalProperties: false }),

  async run({ who, params: { roomId, receiptType, eventId }, body: { thread_id: thread } }, ctx) {
    const type = types.find((each) => each === receiptType)
    if (!type) throw invalidParam(`There are no receipts of type '${receiptType}'`)
    const threadId = threadOf(thread)
    if (threadId !== undefined && type === 'm.fully_read')
      throw invalidParam('m.fully_read is of the room and not of a thread')
    await ctx.receipts.post(who.userId, roomId, [{ type, eventId, threadId }])
    ctx.presence?.active(who.userId, who.deviceId)
    return {}
  },
})

function threadOf(thread: unknown): string | undefined {
  if (thread === undefined) return undefined
  if (typeof thread !== 'string' || thread === '' || !isShortText(thread))
    throw invalidParam('`thread_id` is not `main` or an event ID')
  if (thread !== 'main' && !thread.startsWith('$'))
    throw invalidParam('`thread_id` is neither `main` nor an event ID')
  return thread
}
