import type { Audience } from '#engine/read/events.ts'
import type { Context } from '#src/context.ts'

/** An administrator gets events as if nothing of them was theirs. */
export const audienceOf = (ctx: Context, userId: string): Audience => ({
  userId,
  deviceId: undefined,
  now: ctx.clock(),
  format: 'client',
  withoutRoomId: false,
})
