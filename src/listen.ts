import { readFile } from 'node:fs/promises'
import { toMatrixError } from '#api/http/fault.ts'
import type { App } from '#api/http/mount.ts'
import type { ListenerConfig } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import { StartupError } from '#store/startup-error.ts'

export type Listening = {
  address: string
  port: number
  tls: boolean
  /** From now on this answers. */
  serve: (app: App) => void
  stop: () => Promise<void>
}

/** What is to become of a WebSocket, as whoever let it in says. */
export type SocketData = {
  opened: (socket: OpenSocket) => void
  received: (text: string) => void
  closed: () => void
}
export type OpenSocket = { send(text: string): void; close(code: number, reason: string): void }

/** The largest message that is taken, and what may wait to be sent to a slow reader. */
const maxMessageBytes = 4 * 1024 * 1024
const maxWaitingBytes = 64 * 1024 * 1024
/** So long a WebSocket may be silent; it is asked before whether it is there. */
const silentSeconds = 120

/** Longer than the longest /sync; the runtime's most. */
const idleSeconds = 255
/** How long requests under way have when the server ends. */
const graceMs = 1_500

const hints: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EADDRNOTAVAIL: 'the address is not of this machine',
  EACCES: 'only root may use this port',
}

/** What is wrong with a certificate and its key. */
const faultsOfTls: Readonly<Record<string, string>> = {
  ERR_OSSL_PEM_NO_START_LINE: 'they are not a certificate and a key in PEM',
  ERR_OSSL_X509_KEY_VALUES_MISMATCH: 'the key is not that of the certificate',
}

/** Answers with `first` where the configuration says, until there is something else to serve. */
export async function listen(
  config: ListenerConfig,
  first: App,
  { log, maxUploadBytes = 0 }: { log: Pick<Log, 'error'>; maxUploadBytes?: number },
): Promise<Listening> {
  const { address, port, tls } = config
  let app = first
  let stopping: Promise<void> | undefined
  const certificate = tls && {
    cert: await readPem(tls.certificate),
    key: await readPem(tls.key),
  }
  const server = open()

  function open() {
    try {
      return Bun.serve<SocketData>({
        hostname: address,
        port,
        idleTimeout: idleSeconds,
        // Bodies are capped by each operation; this is the most that any of them takes.
        maxRequestBodySize: Math.max(64 * 1024 * 1024, maxUploadBytes + 1024 * 1024),
        ...(certificate && { tls: certificate }),
        fetch: (request, peer) => app.fetch(request, peer),
        // Else the runtime shows whoever asked the source of what nobody caught.
        error: (error) => {
          log.error({ err: error }, 'a request failed')
          const answer = toMatrixError(error)
          return Response.json(answer, { status: answer.status })
        },
        websocket: {
          maxPayloadLength: maxMessageBytes,
          backpressureLimit: maxWaitingBytes,
          closeOnBackpressureLimit: true,
          idleTimeout: silentSeconds,
          open: (socket) => socket.data.opened(socket),
          message: (socket, message) => socket.data.received(message.toString()),
          close: (socket) => socket.data.closed(),
        },
      })
    } catch (error) {
      const code = (error as { code?: string }).code
      const hint = hints[code ?? ''] ?? String(error)
      if (tls && hints[code ?? ''] === undefined)
        throw new StartupError(
          `Cannot use ${tls.certificate} and ${tls.key} on ${address}:${port}: ${faultsOfTls[code ?? ''] ?? hint}`,
          { cause: error },
        )
      throw new StartupError(`Cannot listen on ${address}:${port}: ${hint}`, { cause: error })
    }
  }

  async function stop() {
    const drained = server.stop()
    await Promise.race([drained, Bun.sleep(graceMs)])
    await server.stop(true)
  }

  return {
    address,
    port: server.port!,
    tls: tls !== undefined,
    serve: (next) => (app = next),
    stop: () => (stopping ??= stop()),
  }
}

async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new StartupError(`The file ${file} of a listener cannot be read`, { cause: error })
  }
}
