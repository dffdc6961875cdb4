import { shardOf } from '#core/shard.ts'
import * as devices from '#store/user/devices.ts'
import type { Context } from '#src/context.ts'

/** From where a user's devices were seen last. */
export async function whoIs(ctx: Context, userId: string) {
  const rows = await devices.list(ctx.sql, shardOf(userId), userId)
  return {
    user_id: userId,
    devices: Object.fromEntries(
      rows.map(({ device_id, last_seen_at, last_seen_ip }) => [
        device_id,
        {
          sessions: [
            {
              connections:
                last_seen_at === null
                  ? []
                  : [{ ip: last_seen_ip ?? '', last_seen: last_seen_at, user_agent: '' }],
            },
          ],
        },
      ]),
    ),
  }
}
