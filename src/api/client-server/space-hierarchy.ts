import { Type as t } from '@sinclair/typebox'
import { limitIn } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import { maxShown, walkSpace } from '#engine/read/hierarchy.ts'

const maxDepth = 30

export const getSpaceHierarchy = op({
  id: 'getSpaceHierarchy',
  method: 'GET',
  path: '/_matrix/client/v1/rooms/:roomId/hierarchy',
  also: ['/_matrix/client/unstable/org.matrix.msc2946/rooms/:roomId/hierarchy'],
  auth: 'user',
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  query: open({
    suggested_only: t.Optional(t.Boolean()),
    limit: t.Optional(t.Integer({ minimum: 1 })),
    max_depth: t.Optional(t.Integer({ minimum: 0 })),
    from: t.Optional(t.String()),
  }),

  async run({ who: { userId }, params: { roomId }, query }, ctx) {
    const suggestedOnly = query.suggested_only ?? false
    const depth = Math.min(query.max_depth ?? maxDepth, maxDepth)
    const limit = limitIn(query.limit, 50, 50)
    const of = [roomId, depth, suggestedOnly]
    const skip = query.from === undefined ? 0 : placeIn(query.from, of)
    const { rooms, more } = await walkSpace(ctx, {
      userId,
      roomId,
      maxDepth: depth,
      suggestedOnly,
      skip,
      limit,
    })
    return { rooms, ...(more && { next_batch: tokenFor(skip + limit, of) }) }
  },
})

/** A token says how many rooms were shown, and of which walk. */
const tokenFor = (shown: number, of: readonly unknown[]): string =>
  Buffer.from(JSON.stringify([shown, ...of])).toString('base64url')

function placeIn(token: string, of: readonly unknown[]): number {
  let parts: unknown
  try {
    parts = JSON.parse(Buffer.from(token, 'base64url').toString())
  } catch {
    parts = undefined
  }
  const [shown, ...rest] = Array.isArray(parts) ? (parts as unknown[]) : []
  if (!Number.isSafeInteger(shown) || (shown as number) < 1 || (shown as number) > maxShown)
    throw invalidParam("'from' is not a token of this server")
  if (JSON.stringify(rest) !== JSON.stringify(of))
    throw invalidParam("'from' goes with another room, 'max_depth' or 'suggested_only'")
  return shown as number
}
