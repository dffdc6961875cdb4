import { type Static, Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import type { Appservice } from '#core/appservice.ts'
import { covers } from '#core/appservice.ts'
import {
  forbidden,
  invalidParam,
  missingParam,
  tooLarge,
  unrecognized,
  userDeactivated,
} from '#core/error.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { BatchSent, BatchWish } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'
import * as users from '#store/user/users.ts'

/** Not spec: events, or state events, of one batch, which is committed at once. */
const maxEvents = 1000
/** Events of the largest size are not sent a thousand at once. */
const maxBytes = 16 * 1024 * 1024

const Query = open({
  prev_event_id: t.Optional(t.Array(t.String(), { maxItems: 20 })),
  batch_id: t.Optional(t.String()),
  // Until Synapse 1.43.
  prev_event: t.Optional(t.Array(t.String(), { maxItems: 20 })),
  chunk_id: t.Optional(t.String()),
})

const operation = {
  auth: 'user',
  limit: 'message',
  maxBytes,
  params: open({ roomId: RoomId }),
  query: Query,
  body: Content,
  response: Content,
} as const

const unstable = '/_matrix/client/unstable/org.matrix.msc2716/rooms/:roomId/batch_send'

type Input = {
  who: Session
  params: { roomId: string }
  query: Static<typeof Query>
  body: Static<typeof Content>
}

/**
 * MSC2716: puts a batch of history into a room, directly behind an event.
 *
 * A batch is there whole or not at all, and a request that is repeated gets the answer of the first.
 */
export const batchSend = op({
  id: 'batchSend',
  method: 'POST',
  path: unstable,
  // As it was to be called one day.
  also: ['/_matrix/client/v1/rooms/:roomId/batch_send'],
  ...operation,
  run: (input, ctx) => run(input, ctx),
})

/** Until Synapse 1.40. There a second request got the answer of the first whatever it held. */
export const putBatch = op({
  id: 'putBatch',
  method: 'PUT',
  path: unstable,
  ...operation,
  run: (input, ctx) => run(input, ctx),
})

async function run({ who, params: { roomId }, query, body }: Input, ctx: Context) {
  if (!ctx.config.rooms.msc2716) throw unrecognized(404)
  const { appservice, userId } = who
  if (!appservice) throw forbidden('Only application services can use the /batchsend endpoint')
  const stateAtStart = listOf(body, 'state_events_at_start')
  const events = listOf(body, 'events')
  const prevEventIds = query.prev_event_id ?? query.prev_event
  if (!prevEventIds)
    throw missingParam(
      'prev_event query parameter is required when inserting historical messages back in time',
    )
  if (events.length === 0) throw invalidParam('events is empty')
  if (events.length > maxEvents || stateAtStart.length > maxEvents)
    throw tooLarge(`A batch has at most ${maxEvents} events and as many of state`)
  await requireSenders(ctx, appservice, [...stateAtStart, ...events])
  const batchId = query.batch_id ?? query.chunk_id
  const wish: Omit<BatchWish, 'request'> = {
    sender: userId,
    prevEventIds: [...new Set(prevEventIds)],
    ...(batchId !== undefined && batchId !== '' && { batchId }),
    stateAtStart: JSON.stringify(stateAtStart),
    events: JSON.stringify(events),
  }
  const request = new Bun.CryptoHasher('sha256').update(JSON.stringify(wish)).digest('hex')
  const sent = await ctx.rooms.call('batchSend', roomId, { ...wish, request })
  const isOld = query.prev_event_id === undefined
  return isOld ? { ...answerOf(sent), ...oldAnswerOf(sent) } : answerOf(sent)
}

function listOf(body: Input['body'], name: string): JsonObject[] {
  const list = body[name] as Json | undefined
  if (list === undefined) throw missingParam(`Missing params: ${name}`)
  if (!Array.isArray(list) || !list.every((each) => isObject(each)))
    throw invalidParam(`${name} is not a list of events`)
  return list
}

/** The application service must be able to act as whoever the events are of. */
async function requireSenders(
  { sql }: Context,
  appservice: Appservice,
  events: readonly JsonObject[],
): Promise<void> {
  const senders = new Set<string>()
  for (const { sender } of events)
    if (typeof sender === 'string') senders.add(sender)
    else
      throw sender === undefined
        ? missingParam('An event has no sender')
        : invalidParam('A sender is not a text')
  for (const sender of senders)
    if (!covers(appservice, 'users', sender))
      throw forbidden(`The application service ${appservice.id} may not act as ${sender}`)
  const standing = await users.activeOf(sql, [...senders])
  for (const sender of senders) {
    const isActive = standing.get(sender)
    if (isActive === undefined) throw forbidden(`${sender} is not registered`)
    if (!isActive) throw userDeactivated(sender)
  }
}

const answerOf = (sent: BatchSent) => ({
  state_event_ids: sent.stateEventIds,
  event_ids: sent.eventIds,
  next_batch_id: sent.nextBatchId,
  insertion_event_id: sent.insertionEventId,
  batch_event_id: sent.batchEventId,
  ...(sent.baseInsertionEventId !== undefined && {
    base_insertion_event_id: sent.baseInsertionEventId,
  }),
})

/** As Synapse answered until 1.43. */
const oldAnswerOf = (sent: BatchSent) => ({
  state_events: sent.stateEventIds,
  events: [
    sent.insertionEventId,
    ...sent.eventIds,
    sent.batchEventId,
    ...(sent.baseInsertionEventId === undefined ? [] : [sent.baseInsertionEventId]),
  ],
  next_chunk_id: sent.nextBatchId,
})
