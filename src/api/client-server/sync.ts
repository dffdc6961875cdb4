import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import { decodeToken } from '#engine/read/sync-token.ts'
import { sync as answerSync } from '#engine/sync/v3.ts'

/** Not spec: the longest that one request waits. A client asks again at once. */
const maxTimeoutMs = 120_000

export const sync = op({
  id: 'sync',
  method: 'GET',
  path: '/_matrix/client/v3/sync',
  also: ['/_matrix/client/r0/sync'],
  auth: 'user',
  admits: ['guest'],
  query: open({
    filter: t.Optional(t.String()),
    since: t.Optional(t.String()),
    full_state: t.Optional(t.Boolean()),
    set_presence: t.Optional(
      t.Union([t.Literal('offline'), t.Literal('online'), t.Literal('unavailable')]),
    ),
    timeout: t.Optional(t.Integer({ minimum: 0 })),
    use_state_after: t.Optional(t.Boolean()),
    // MSC4222: matrix-js-sdk asks by this name only.
    'org.matrix.msc4222.use_state_after': t.Optional(t.Boolean()),
  }),
  response: open({ next_batch: t.String(), rooms: t.Optional(Content) }),

  async run({ who, query, request }, ctx) {
    // Spec: application-service-api/#using-sync-and-events
    if (who.appservice && !request.query.has('user_id'))
      throw forbidden("An application service names the user whose events it wants: 'user_id'")
    const { userId, deviceId = '' } = who
    const filter = await ctx.syncFilters.of(userId, query.filter)
    const since = query.since === undefined ? undefined : decodeToken(query.since)
    // Whoever waits is there.
    const end = ctx.presence?.begin(userId, deviceId, query.set_presence)
    try {
      return await answerSync(
        ctx,
        {
          userId,
          deviceId,
          since,
          filter,
          fullState: query.full_state ?? false,
          stateAfter: query.use_state_after
            ? 'state_after'
            : query['org.matrix.msc4222.use_state_after']
              ? 'org.matrix.msc4222.state_after'
              : undefined,
        },
        request.signal,
        Math.min(query.timeout ?? 0, maxTimeoutMs),
      )
    } finally {
      end?.()
    }
  },
})
