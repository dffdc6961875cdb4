import type { Subprocess } from 'bun'
import { join } from 'node:path'
import { freePorts } from '#test/ports.ts'
import { addressOf } from './origin.ts'
import type { Answer, OriginCalls, OriginsOptions } from './protocol.ts'

/**
 * Simulated origin servers, in a process of their own: they sign real events, send them, and answer what
 * a server asks of them. Each is named by a loopback address of its own with a port, so that any server
 * reaches it that does not refuse such addresses and trusts the certificates.
 */
export class Origins {
  /** Their server names. */
  readonly names: readonly string[]
  readonly #process: Subprocess
  readonly #open: Map<number, PromiseWithResolvers<unknown>>
  #calls = 0

  private constructor(
    child: Subprocess,
    open: Map<number, PromiseWithResolvers<unknown>>,
    names: readonly string[],
  ) {
    this.#process = child
    this.#open = open
    this.names = names
  }

  /** The certificates must name `addresses(net, count)`. */
  static async start(options: Omit<OriginsOptions, 'port'>): Promise<Origins> {
    const [port] = await freePorts(1)
    const open = new Map<number, PromiseWithResolvers<unknown>>()
    const ready = Promise.withResolvers<unknown>()
    open.set(0, ready)
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, 'process.ts'), JSON.stringify({ ...options, port })],
      {
        env: {
          ...process.env,
          // A request to each origin's target may be open, and none may wait for another's.
          BUN_CONFIG_MAX_HTTP_REQUESTS: '2000',
          NODE_EXTRA_CA_CERTS: options.certificates.ca,
        },
        stdout: 'inherit',
        stderr: 'inherit',
        serialization: 'json',
        ipc: (answer: Answer) => settle(open, answer),
        onExit: () => {
          for (const { reject } of open.values()) reject(new Error('The origins have ended'))
        },
      },
    )
    return new Origins(child, open, (await ready.promise) as string[])
  }

  get pid(): number {
    return this.#process.pid
  }

  async call<M extends keyof OriginCalls>(
    method: M,
    ...args: Parameters<OriginCalls[M]>
  ): Promise<ReturnType<OriginCalls[M]>> {
    const id = ++this.#calls
    const answer = Promise.withResolvers<unknown>()
    this.#open.set(id, answer)
    this.#process.send({ id, method, args })
    return (await answer.promise) as ReturnType<OriginCalls[M]>
  }

  async stop(): Promise<void> {
    this.#process.kill()
    await this.#process.exited
  }
}

/** The addresses of origins, for certificates. */
export const addresses = (net: number, count: number): string[] =>
  Array.from({ length: count }, (_, n) => addressOf(net, n))

function settle(open: Map<number, PromiseWithResolvers<unknown>>, answer: Answer): void {
  const waiting = open.get(answer.id)
  open.delete(answer.id)
  if ('error' in answer) waiting?.reject(new Error(answer.error))
  else waiting?.resolve(answer.value)
}
