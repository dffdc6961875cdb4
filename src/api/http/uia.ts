import { isObject, type JsonObject } from '#core/json.ts'
import { tokenOf } from '#api/http/access-token.ts'
import type { AnyOp, Auth, Auths } from '#api/http/op.ts'
import type { Incoming } from '#api/http/incoming.ts'
import { type Flows, type Proof, byPassword } from '#engine/user/uia/flows.ts'
import type { Context } from '#src/context.ts'

type Prepared = { who: Auths[Auth]; request: Incoming }

/** What the caller of an operation has proved; throws what is still to be proved. */
export async function prove(ctx: Context, op: AnyOp, input: Prepared): Promise<Proof> {
  const { who, request } = input
  const { uia } = op
  if (!uia || (who !== null && 'appservice' in who && who.appservice)) return {}
  const flows: Flows | null | undefined = uia.flows
    ? await uia.flows(input as never, ctx)
    : byPassword
  if (flows === null) return {}
  const user = who !== null && 'admin' in who ? who : undefined
  const body: JsonObject = isObject(request.json) ? request.json : {}
  const { auth } = body
  // Whatever tries a password shares one budget.
  if (op.limit !== 'login' && isObject(auth) && auth['type'] === 'm.login.password')
    ctx.limits.take('login', user?.userId ?? request.address)
  return ctx.uia.require({
    operation: `${op.id} ${request.method} ${request.path}`,
    flows: flows ?? byPassword,
    auth,
    who: user && { userId: user.userId, token: tokenOf(request)! },
    grace: uia.grace === true,
    purpose: uia.purpose ?? 'register',
  })
}
