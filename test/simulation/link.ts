import { type Server, type Socket, connect, createServer } from 'node:net'

export type LinkState = 'up' | 'refusing' | 'silent'

/** A way from one server to another, which a test can cut: a TCP port that leads to another one. */
export class Link {
  readonly #server: Server
  readonly #target: () => number
  readonly #sockets = new Set<Socket>()
  #state: LinkState = 'up'

  private constructor(target: () => number) {
    this.#target = target
    this.#server = createServer((socket) => this.#take(socket))
  }

  static async to(target: number | (() => number)): Promise<Link> {
    const link = new Link(typeof target === 'number' ? () => target : target)
    await new Promise<void>((resolve) => link.#server.listen(0, '127.0.0.1', resolve))
    return link
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  /** What is under way breaks; what comes is refused, or never answered. */
  set(state: LinkState): void {
    if (state === this.#state) return
    this.#state = state
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.set('refusing')
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #take(socket: Socket): void {
    this.#keep(socket)
    if (this.#state === 'refusing') return void socket.destroy()
    if (this.#state === 'silent') return void socket.resume()
    const onward = connect(this.#target(), '127.0.0.1')
    this.#keep(onward)
    socket.pipe(onward)
    onward.pipe(socket)
    socket.on('close', () => onward.destroy())
    onward.on('close', () => socket.destroy())
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    // A broken connection is what links are for; 'close' follows.
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
  }
}
