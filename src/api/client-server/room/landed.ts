import type { Landed } from '#engine/worker/protocol.ts'
import type { Context } from '#src/context.ts'

/** The event that a call to a room committed; whoever reads after the answer finds it. */
export function landed({ positions }: Pick<Context, 'positions'>, at: Landed): string {
  positions.advanceRooms([[at.shard, at.position]])
  return at.eventId
}
