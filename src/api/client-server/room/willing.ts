import { domainOf } from '#core/ids.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { requireWilling as requireLocal } from '#engine/read/invite-permission.ts'
import * as users from '#store/user/users.ts'
import type { Context } from '#src/context.ts'

/**
 * Refuses to invite who wants no invites; the servers of others ask them themselves. Who is not there yet may
 * be made by an application service.
 */
export async function requireWilling(ctx: Context, target: string): Promise<void> {
  const { sql, serverName, bridges } = ctx
  if (domainOf(target) !== serverName) return
  await orMade(
    () => users.get(sql, target),
    () => bridges.questions.makesUser(target),
  )
  await requireLocal(sql, target)
}
