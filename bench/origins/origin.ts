import type { Json, JsonObject } from '#core/json.ts'
import { buildKeyDocument } from '#core/server-keys.ts'
import { authorizationHeader } from '#core/x-matrix.ts'
import { MadeUpServer } from '#test/builders.ts'
import { answerOf } from './answers.ts'
import type { OriginRoom } from './origin-room.ts'
import type { OriginsOptions } from './protocol.ts'

/** A transaction as it goes over the line. */
export type Request = { url: string; init: RequestInit; pdus: number; ids: readonly string[] }

/** One simulated server: a name that is an address of its own, a key, and answers to what it is asked. */
export class Origin {
  readonly server: MadeUpServer
  readonly #target: OriginsOptions['target']
  readonly #listener: Bun.Server<undefined>
  #txns = 0

  constructor(
    n: number,
    { net, port, certificates, target }: OriginsOptions,
    world: { rooms: ReadonlyMap<string, OriginRoom>; asked: Map<string, number> },
  ) {
    const address = addressOf(net, n)
    this.server = new MadeUpServer(`${address}:${port}`)
    this.#target = target
    this.#listener = Bun.serve({
      hostname: address,
      port,
      idleTimeout: 120,
      tls: { cert: Bun.file(certificates.certificate), key: Bun.file(certificates.key) },
      fetch: async (request) => {
        const { body, status = 200 } = await answerOf(request, this, world)
        return Response.json(body, { status })
      },
    })
  }

  get name(): string {
    return this.server.name
  }

  keyDocument(): JsonObject {
    return buildKeyDocument(this.name, [this.server.key], [], Date.now() + 86_400_000)
  }

  /** A transaction of these PDUs, signed. */
  transaction(pdus: readonly string[], ids: readonly string[]): Request {
    const { serverName, federationUrl } = this.#target
    // No two runs of a bench against one server may use an ID twice.
    const uri = `/_matrix/federation/v1/send/${process.pid}-${Date.now()}-${++this.#txns}`
    const body = `{"origin":"${this.name}","origin_server_ts":${Date.now()},"pdus":[${pdus.join(',')}]}`
    const signed = {
      method: 'PUT',
      uri,
      origin: this.name,
      destination: serverName,
      content: JSON.parse(body) as Json,
    }
    const headers = {
      authorization: authorizationHeader(signed, this.server.key),
      'content-type': 'application/json',
    }
    return {
      url: federationUrl + uri,
      init: { method: 'PUT', headers, body },
      pdus: pdus.length,
      ids,
    }
  }

  stop(): Promise<void> {
    return this.#listener.stop(true)
  }
}

/** Addresses that need no entry in any directory, and that certificates can name. */
export const addressOf = (net: number, n: number): string =>
  `127.${net}.${Math.floor(n / 250)}.${(n % 250) + 1}`
