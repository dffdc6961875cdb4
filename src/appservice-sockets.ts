import type { App } from '#api/http/mount.ts'
import { MatrixError, forbidden, missingToken, unknownToken } from '#core/error.ts'
import type { Context } from '#src/context.ts'
import type { OpenSocket, SocketData } from '#src/listen.ts'

const path = '/_matrix/client/unstable/fi.mau.as_sync'

type Parts = Pick<Context, 'appservices' | 'bridges' | 'log'>

/**
 * Lets application services in that connect to us for what they are sent, by their own token; all else is for
 * the app. Routes of the specification know no such connection, so they are not asked.
 */
export function withSockets(parts: Parts, app: App): App {
  return {
    fetch(request, server) {
      if (!request.url.includes(path) || new URL(request.url).pathname !== path)
        return app.fetch(request, server)
      try {
        const data = dataFor(parts, request)
        // What listens here is Bun.
        if ((server as Bun.Server<SocketData> | undefined)?.upgrade(request, { data }))
          return undefined as unknown as Response
        throw new MatrixError(426, 'M_UNRECOGNIZED', 'This is for a WebSocket')
      } catch (error) {
        if (!(error instanceof MatrixError)) throw error
        return Response.json(error, { status: error.status })
      }
    },
  }
}

function dataFor({ appservices, bridges, log }: Parts, request: Request): SocketData {
  const token = /^Bearer +(\S+) *$/i.exec(request.headers.get('authorization') ?? '')?.[1]
  if (token === undefined) throw missingToken()
  const appservice = appservices.byToken.get(token)
  if (!appservice) throw unknownToken()
  const link = bridges.socketOf(appservice)
  if (!link) throw forbidden('It is sent what it wants at the address of its registration')
  const { id } = appservice
  let own: OpenSocket | undefined
  return {
    opened(socket) {
      own = socket
      log.info({ appservice: id }, 'an application service has connected')
      link.connected(own)
    },
    received: (text) => link.received(own!, text),
    closed() {
      log.info({ appservice: id }, 'an application service has disconnected')
      link.closed(own!)
    },
  }
}
