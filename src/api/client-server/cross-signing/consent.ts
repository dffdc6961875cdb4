import { MatrixError } from '#core/error.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { Context } from '#src/context.ts'
import { type Reply, json } from '#api/http/reply.ts'

/**
 * Whether a user proved once more, by their password, that it is them; undefined if so, else the
 * answer that asks for it.
 *
 * Spec: client-server-api/#user-interactive-authentication-api
 */
export async function askForPassword(
  ctx: Context,
  who: Session,
  auth: JsonObject | undefined,
): Promise<Reply | undefined> {
  const answer = (fault: object) =>
    json(401, {
      ...fault,
      flows: [{ stages: ['m.login.password'] }],
      params: {},
      session: typeof auth?.['session'] === 'string' ? auth['session'] : crypto.randomUUID(),
    })
  if (!auth || auth['type'] === undefined) return answer({})
  const { type, identifier, user, password } = auth
  const named = isObject(identifier) ? identifier['user'] : user
  if (type === 'm.login.password' && typeof named === 'string' && typeof password === 'string') {
    ctx.limits.take('login', who.userId)
    if ((await ctx.accounts.authenticate(named, password)) === who.userId) return undefined
  }
  const wrong = new MatrixError(401, 'M_FORBIDDEN', 'The user name or the password is wrong')
  return answer(wrong.toJSON())
}
