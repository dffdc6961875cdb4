import { domainOf } from '#core/ids.ts'
import { MatrixError } from '#core/error.ts'
import { orMade } from '#engine/appservice/or-made.ts'
import { requireWilling as requireLocal } from '#engine/read/invite-permission.ts'
import * as users from '#store/user/users.ts'
import type { Context } from '#src/context.ts'

/**
 * Not spec: an application service that does not answer is sent the invite when it is back, and may make the
 * user then.
 */
function orLater(error: unknown): boolean {
  if (error instanceof MatrixError && error.status === 408) return false
  throw error
}

/**
 * Refuses to invite who wants no invites; the servers of others ask them themselves. Who is not there yet may
 * be made by an application service.
 */
export async function requireWilling(ctx: Context, target: string): Promise<void> {
  const { sql, serverName, bridges } = ctx
  if (domainOf(target) !== serverName) return
  await orMade(
    () => users.get(sql, target),
    () => bridges.questions.makesUser(target).catch(orLater),
  )
  await requireLocal(sql, target)
}
