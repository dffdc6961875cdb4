import { type AddressInfo, type Socket, connect, createServer } from 'node:net'

/** A refusal as PostgreSQL words it. */
export type Refusal = { code: string; message: string }

/**
 * Stands before a PostgreSQL, on TCP: lets connections through, refuses new ones as PostgreSQL would, or
 * cuts those that there are.
 */
export class PostgresGate {
  /** Of the same database, through the gate. */
  readonly url: string
  /** With what new connections are refused; undefined lets them in. */
  refusal: Refusal | undefined
  refused = 0
  readonly #server
  readonly #sockets = new Set<Socket>()

  private constructor(server: ReturnType<typeof createServer>, target: URL) {
    this.#server = server
    const url = new URL(target)
    url.searchParams.delete('host')
    url.hostname = '127.0.0.1'
    url.port = String((server.address() as AddressInfo).port)
    this.url = url.href
    server.on('connection', (socket) => this.#admit(socket, target))
  }

  static async open(url: string, refusal?: Refusal): Promise<PostgresGate> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const gate = new PostgresGate(server, new URL(url))
    gate.refusal = refusal
    return gate
  }

  /** Ends every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Ends every connection as a server does that dies without having read all. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  [Symbol.dispose](): void {
    this.#server.close()
    this.cut()
  }

  #admit(socket: Socket, target: URL): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    const { refusal } = this
    if (refusal) {
      this.refused++
      socket.once('data', () => socket.end(errorResponse(refusal)))
      return
    }
    const folder = target.searchParams.get('host')
    const inner = folder
      ? connect(`${folder}/.s.PGSQL.5432`)
      : connect(Number(target.port || 5432), target.hostname)
    inner.on('error', () => socket.destroy())
    inner.on('close', () => socket.destroy())
    socket.on('close', () => inner.destroy())
    socket.pipe(inner)
    inner.pipe(socket)
  }
}

function errorResponse({ code, message }: Refusal): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeUInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}
