import { forbidden, unauthorized } from '#core/error.ts'
import {
  appserviceOf,
  optionalOwnSession,
  optionalSession,
  requireOwnSession,
  requireSession,
} from '#api/http/access-token.ts'
import type { Incoming } from '#api/http/incoming.ts'
import { requireScraper } from '#api/http/scraper.ts'
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
  owner: requireOwnSession,
  userOptional: optionalSession,
  ownerOptional: optionalOwnSession,
  server: checkServer,
  appserviceOptional: appserviceOf,
  scraper: requireScraper,

  async appservice(ctx, request) {
    const acting = appserviceOf(ctx, request)
    if (acting) return acting
    await requireOwnSession(ctx, request)
    throw forbidden('Only an application service may do this')
  },

  async admin(ctx, request) {
    const session = await requireOwnSession(ctx, request)
    if (!session.admin) throw forbidden('Only an administrator of this server may do this')
    return session
  },

  async importer(ctx, request) {
    const session = await requireSession(ctx, request)
    if (!session.admin && !session.appservice)
      throw forbidden('Only an administrator or an application service may import history')
    return session
  },
})

const refuseServer: ServerCheck = async () => {
  throw unauthorized('No server is let in here')
}
