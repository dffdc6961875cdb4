import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { RoomId, open } from '#core/schema.ts'

const Count = t.Integer({ minimum: 0 })

/** The ten longest lanes, and what each is at or waits for. */
export const listLongestLanes = op({
  id: 'listLongestLanes',
  method: 'GET',
  path: '/_laneway/admin/v1/lanes',
  auth: 'admin',
  query: open({ limit: t.Optional(t.Integer({ minimum: 1, maximum: 100 })) }),
  response: open({
    lanes: t.Array(
      open({
        room_id: RoomId,
        thread: t.Optional(t.String()),
        local: Count,
        inbox: Count,
        oldest_ms: Count,
        in_memory: Count,
        parked: Count,
        uncommitted: Count,
        spent_ms: Count,
        waits_for: t.Array(
          open({
            what: t.String(),
            server: t.Optional(t.String()),
            for_ms: t.Optional(Count),
            count: t.Optional(Count),
          }),
        ),
      }),
    ),
  }),

  async run({ query: { limit = 10 } }, ctx) {
    const lanes = await ctx.seeing.longestLanes(limit)
    return {
      lanes: lanes.map((lane) => ({
        room_id: lane.roomId,
        ...(lane.thread !== undefined && { thread: lane.thread }),
        local: lane.local,
        inbox: lane.inbox,
        oldest_ms: lane.oldestMs,
        in_memory: lane.inbound,
        parked: lane.parked,
        uncommitted: lane.uncommitted,
        spent_ms: lane.spentMs,
        waits_for: lane.waits.map(({ what, server, forMs, count }) => ({
          what,
          ...(server !== undefined && { server }),
          ...(forMs !== undefined && { for_ms: Math.max(0, Math.round(forMs)) }),
          ...(count !== undefined && { count }),
        })),
      })),
    }
  },
})
