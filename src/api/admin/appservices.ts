import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { open } from '#core/schema.ts'

// Ours: how application services fare, and how to get past what one of them refuses.

const path = '/_laneway/admin/v1/appservices'
const params = open({ appserviceId: t.String() })
const Count = t.Integer({ minimum: 0 })

export const listAppservices = op({
  id: 'listAppservices',
  method: 'GET',
  path,
  auth: 'admin',
  response: open({
    appservices: t.Array(
      open({
        id: t.String(),
        url: t.Optional(t.String()),
        follows: t.Boolean(),
        up: t.Boolean(),
        waits_for: t.String(),
        events: Count,
        receipts: Count,
        device_lists: Count,
        oldest_ms: Count,
        in_flight: t.Optional(
          open({ txn_id: t.String(), event_ids: t.Array(t.String()), size: Count, for_ms: Count }),
        ),
        failures: Count,
        fault: t.Optional(open({ kind: t.String(), text: t.String() })),
        retry_in_ms: t.Optional(Count),
        sent: Count,
        dropped: Count,
      }),
    ),
  }),

  async run(_, ctx) {
    const standings = await ctx.bridges.standings()
    return {
      appservices: standings.map(({ url, inFlight, fault, retryInMs, ...each }) => ({
        id: each.id,
        ...(url !== null && { url }),
        follows: each.follows,
        up: each.isUp,
        waits_for: each.waitsFor,
        events: each.events,
        receipts: each.receipts,
        device_lists: each.lists,
        oldest_ms: each.oldestMs,
        ...(inFlight && {
          in_flight: {
            txn_id: inFlight.txnId,
            event_ids: inFlight.eventIds,
            size: inFlight.size,
            for_ms: inFlight.forMs,
          },
        }),
        failures: each.failures,
        ...(fault && { fault }),
        ...(retryInMs !== undefined && { retry_in_ms: retryInMs }),
        sent: each.sent,
        dropped: each.dropped,
      })),
    }
  },
})

/** Sends one what waits for it at once, and not only when its pause is over. */
export const retryAppservice = op({
  id: 'retryAppservice',
  method: 'POST',
  path: `${path}/:appserviceId/retry`,
  auth: 'admin',
  params,

  async run({ params: { appserviceId } }, ctx) {
    if (!ctx.bridges.retry(appserviceId)) throw notFound('There is no such application service')
    return {}
  },
})

/** Gives up on the transaction that one does not take, or on some events of it. */
export const skipAppserviceTransaction = op({
  id: 'skipAppserviceTransaction',
  method: 'POST',
  path: `${path}/:appserviceId/skip`,
  auth: 'admin',
  params,
  body: open({
    txn_id: t.String(),
    event_ids: t.Optional(t.Array(t.String(), { minItems: 1, maxItems: 100 })),
  }),
  response: open({ skipped_events: Count }),

  async run({ params: { appserviceId }, body: { txn_id: txnId, event_ids: eventIds } }, ctx) {
    const skipped = await ctx.bridges.skip(appserviceId, txnId, eventIds)
    if (skipped === undefined) throw notFound('No such transaction is in flight')
    return { skipped_events: skipped }
  },
})
