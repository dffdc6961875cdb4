import type { JsonObject } from '#core/json.ts'
import { domainOf } from '#core/ids.ts'
import { shardOf } from '#core/shard.ts'
import * as profiles from '#store/user/profiles.ts'
import type { Context } from '#src/context.ts'

/** What a member event of each of these users says about them; only our own users have a profile here. */
export async function profilesOf(
  ctx: Pick<Context, 'sql' | 'serverName'>,
  userIds: readonly string[],
): Promise<Map<string, JsonObject>> {
  const own = userIds.filter((userId) => domainOf(userId) === ctx.serverName)
  const found = new Map<string, JsonObject>()
  if (own.length === 0) return found
  const rows = await profiles.list(
    ctx.sql,
    own,
    own.map((userId) => shardOf(userId)),
  )
  for (const row of rows) {
    if (row.name !== 'displayname' && row.name !== 'avatar_url') continue
    const value: unknown = JSON.parse(row.value)
    if (typeof value !== 'string' || value === '') continue
    const profile = found.get(row.user_id) ?? {}
    profile[row.name] = value
    found.set(row.user_id, profile)
  }
  return found
}

/** The content of a member event beside `membership`, as JSON text. */
export async function memberContent(
  ctx: Pick<Context, 'sql' | 'serverName'>,
  userId: string,
  reason: string | undefined,
): Promise<string> {
  const profile = (await profilesOf(ctx, [userId])).get(userId)
  return JSON.stringify({ ...profile, ...(reason !== undefined && { reason }) })
}

/** The content of a kick, ban or leave: it says nothing about the user but why. */
export const reasonContent = (reason: string | undefined): string =>
  JSON.stringify(reason === undefined ? {} : { reason })
