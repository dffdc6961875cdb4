import { domainOf } from '#core/ids.ts'
import { requireWilling as requireLocal } from '#engine/read/invite-permission.ts'
import type { Context } from '#src/context.ts'

/** Refuses to invite who wants no invites; the servers of others ask them themselves. */
export async function requireWilling({ sql, serverName }: Context, target: string): Promise<void> {
  if (domainOf(target) === serverName) await requireLocal(sql, target)
}
