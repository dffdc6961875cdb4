import { forbidden, invalidParam, notFound } from '#core/error.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import * as users from '#store/user/users.ts'
import type { Context } from '#src/context.ts'

/** An account of this server, as an administrator names it, whatever has become of it. */
export async function localUser(ctx: Context, userId: string): Promise<users.Account> {
  if (!isUserId(userId) || domainOf(userId) !== ctx.serverName)
    throw invalidParam('The user is not one of this server')
  const account = await users.get(ctx.sql, userId)
  if (!account) throw notFound('There is no such user')
  return account
}

/**
 * An account that may be moderated: not that of another administrator.
 *
 * Spec: client-server-api/#server-administration
 */
export async function moderated(ctx: Context, userId: string): Promise<users.Account> {
  const account = await localUser(ctx, userId)
  if (account.deactivated) throw notFound('There is no such user')
  if (account.admin) throw forbidden('The accounts of administrators are theirs')
  return account
}
