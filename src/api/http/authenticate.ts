import { forbidden, unauthorized } from '#core/error.ts'
import { optionalSession, requireSession } from '#api/http/access-token.ts'
import type { Incoming } from '#api/http/incoming.ts'
import type { Auth, Auths } from '#api/http/op.ts'
import type { Context } from '#src/context.ts'

/** Proves that a request comes from another server; `request.text` is the body it signed. */
export type ServerCheck = (ctx: Context, request: Incoming) => Promise<Auths['server']>

type Checks = {
  [A in Auth]: (ctx: Context, request: Incoming) => Auths[A] | Promise<Auths[A]>
}

/** How each kind of caller proves who they are. */
export const authenticators = (checkServer: ServerCheck = refuseServer): Checks => ({
  none: () => null,
  user: requireSession,
  userOptional: optionalSession,
  server: checkServer,

  // No application service can be registered yet, so no token is that of one.
  async appservice(ctx, request) {
    await requireSession(ctx, request)
    throw forbidden('Only an application service may do this')
  },

  async admin(ctx, request) {
    const session = await requireSession(ctx, request)
    if (!session.admin) throw forbidden('Only an administrator of this server may do this')
    return session
  },
})

const refuseServer: ServerCheck = async () => {
  throw unauthorized('No server is let in here')
}
