import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseJson } from '#core/canonical-json.ts'
import type { JsonObject } from '#core/json.ts'
import { buildKeyDocument } from '#core/server-keys.ts'
import { makeSigningKey, type SigningKey } from '#core/signing.ts'
import { FederationEngine, type FederationParts } from '#engine/federation/engine.ts'
import type { Dns } from '#engine/federation/dns.ts'
import type { FederationOptions } from '#engine/federation/options.ts'
import { silentLog } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import { newFolder } from '#test/folder.ts'
import { patienceMs } from '#test/until.ts'

export { until } from '#test/until.ts'

/** Other servers for tests: real HTTPS on loopback, with certificates of an authority of our own. */

const run = promisify(execFile)

export type Certificate = { key: string; cert: string }

/** A certificate authority that lives for one test file. */
export class Authority {
  readonly pem: string
  readonly #folder: string

  private constructor(folder: string, pem: string) {
    this.#folder = folder
    this.pem = pem
  }

  static async make(): Promise<Authority> {
    const folder = await newFolder('ca')
    await openssl(
      folder,
      `req -x509 ${newKey} -keyout ca.key -out ca.pem -days 30 -subj /CN=laneway-tests`,
    )
    return new Authority(folder, await readFile(join(folder, 'ca.pem'), 'utf8'))
  }

  /** A certificate for host names and IP addresses. */
  async certify(...names: string[]): Promise<Certificate> {
    const file = randomBytes(6).toString('hex')
    const alternatives = names.map((name) =>
      /^[\d.]+$|:/.test(name) ? `IP:${name}` : `DNS:${name}`,
    )
    await writeFile(
      join(this.#folder, `${file}.ext`),
      `subjectAltName=${alternatives.join(',')}\nextendedKeyUsage=serverAuth\n`,
    )
    await openssl(this.#folder, `req ${newKey} -keyout ${file}.key -out ${file}.csr -subj /CN=peer`)
    await openssl(
      this.#folder,
      `x509 -req -in ${file}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out ${file}.pem -days 30 -extfile ${file}.ext`,
    )
    return {
      key: await readFile(join(this.#folder, `${file}.key`), 'utf8'),
      cert: await readFile(join(this.#folder, `${file}.pem`), 'utf8'),
    }
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true })
  }
}

const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
const openssl = (cwd: string, line: string) => run('openssl', line.split(' '), { cwd })

export type Seen = {
  method: string
  host: string
  uri: string
  authorization: string | null
  body: string
}
export type Handler = (request: Seen) => Response | Promise<Response>

/** One HTTPS server that plays a peer; `answer` may be replaced at any time. */
export class Peer {
  readonly name: string
  readonly address: string
  readonly key: SigningKey
  readonly seen: Seen[] = []
  answer: Handler
  readonly #server: Bun.Server<undefined>

  constructor(name: string, address: string, certificate: Certificate, answer?: Handler) {
    this.name = name
    this.address = address
    this.key = makeSigningKey(randomBytes(32))
    this.answer = answer ?? ((request) => this.usual(request))
    this.#server = Bun.serve({
      hostname: address,
      port: 0,
      idleTimeout: 0,
      tls: certificate,
      fetch: async (request) => {
        const { url } = request
        const seen: Seen = {
          method: request.method,
          host: request.headers.get('host') ?? '',
          uri: url.slice(url.indexOf('/', url.indexOf('//') + 2)),
          authorization: request.headers.get('authorization'),
          body: await request.text(),
        }
        this.seen.push(seen)
        return this.answer(seen)
      },
    })
  }

  get port(): number {
    return this.#server.port!
  }

  /** For `static_destinations`. */
  get destination(): string {
    return `${this.address}:${this.port}`
  }

  /** What its key document says, unless a test changes it. */
  keyDocument = (validUntilTs = Date.now() + 86_400_000): JsonObject =>
    buildKeyDocument(this.name, [this.key], [], validUntilTs)

  /** Gives its keys, and takes every transaction. */
  usual({ uri }: Seen): Response {
    if (uri.startsWith('/_matrix/key/v2/server')) return Response.json(this.keyDocument())
    if (uri.startsWith('/_matrix/federation/v1/send/')) return Response.json({ pdus: {} })
    return Response.json({ errcode: 'M_UNRECOGNIZED', error: 'No' }, { status: 404 })
  }

  /** The bodies of the transactions that came. */
  get transactions(): JsonObject[] {
    return this.seen
      .filter(({ uri }) => uri.startsWith('/_matrix/federation/v1/send/'))
      .map(({ body }) => parseJson(body) as JsonObject)
  }

  async stop(): Promise<void> {
    await this.#server.stop(true)
  }
}

export type PeerSetup = { peers: Peer[]; authority: Authority }

export const testOptions = (
  serverName: string,
  { peers, authority }: PeerSetup,
  changed: Partial<FederationOptions> = {},
): FederationOptions => ({
  serverName,
  staticDestinations: Object.fromEntries(peers.map((peer) => [peer.name, peer.destination])),
  extraAuthorities: [authority.pem],
  blockedRanges: [],
  allowedRanges: [],
  gateways: { blocked: [], allowed: [] },
  notaries: [],
  requestTimeoutMs: patienceMs,
  retryMinMs: 50,
  retryMaxMs: 500,
  maxInFlight: 64,
  ...changed,
})

/** An engine in this thread. */
export const startEngine = (
  sql: Pool,
  options: FederationOptions,
  more: Partial<FederationParts> = {},
): Promise<FederationEngine> =>
  FederationEngine.start({
    options,
    sql,
    log: silentLog,
    clock: Date.now,
    lookEveryMs: 3_600_000,
    ...more,
  })

/** A name system of fixed answers. */
export const fixedDns = (
  addresses: Record<string, string[]>,
  srv: Record<string, Awaited<ReturnType<Dns['srv']>>> = {},
): Dns => ({
  addresses: async (host) => {
    const found = addresses[host]
    if (!found) throw new Error(`${host} does not exist`)
    return found
  },
  srv: async (name) => srv[name] ?? [],
})
