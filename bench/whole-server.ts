import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashToken } from '#engine/user/access-tokens.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { Pool } from '#store/db.ts'
import { type Certificates, makeCertificates } from '#test/certificates.ts'
import { freePorts, Laneway, type LanewayOptions, Login } from '#test/laneway.ts'
import type { Figure } from './figures.ts'
import { processUs, type Stand, withStand } from './stand.ts'
import { Synapse, type SynapseOptions } from './synapse.ts'

/** Which server a bench drives. */
export type Kind = 'laneway' | 'synapse'

/** What both are to a bench. */
type Running = Pick<
  Laneway,
  'serverName' | 'clientUrl' | 'federationUrl' | 'pid' | 'register' | 'start' | 'stop'
>

/** A server as an operator starts it, on the database of a bench, and what it costs. */
export class WholeServer {
  readonly kind: Kind
  /** Its name and version, for people. */
  readonly version: string
  readonly stand: Stand
  /** For clients. */
  readonly url: string
  readonly federationUrl: string
  readonly serverName: string
  /** Whom it trusts. */
  readonly certificates: Certificates
  readonly #running: Running

  constructor(
    stand: Stand,
    running: Running,
    about: { kind: Kind; version: string; certificates: Certificates },
  ) {
    this.stand = stand
    this.kind = about.kind
    this.version = about.version
    this.certificates = about.certificates
    this.url = running.clientUrl
    this.federationUrl = running.federationUrl
    this.serverName = running.serverName
    this.#running = running
  }

  get pid(): number {
    return this.#running.pid!
  }

  start(): Promise<void> {
    return this.#running.start()
  }

  /** Ends its process; its database stays. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    return this.#running.stop(signal)
  }

  /** Processor time of the server and of PostgreSQL until now, in µs. */
  async spent(): Promise<[server: number, postgres: number]> {
    return Promise.all([processUs(this.pid), this.stand.postgresUs()])
  }

  /** Does something, and tells what it cost both, in µs. */
  async costOf(work: () => Promise<unknown>): Promise<[server: number, postgres: number]> {
    const before = await this.spent()
    await work()
    const after = await this.spent()
    return [after[0] - before[0], after[1] - before[1]]
  }

  /** Resident memory of the server, in KiB. */
  async memoryKib(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1])
  }

  /** What the database holds on disk, once nothing in it is dead. */
  databaseBytes(): Promise<number> {
    return databaseBytes(this.stand.pool)
  }

  /** Makes an account and a session of it, as administrators' tools do. */
  register(name: string, admin = false): Promise<Login> {
    return this.#running.register(name, admin)
  }

  /** Makes users with a session each, of ours past HTTP and passwords; logins of them. */
  async people(count: number, name = 'user'): Promise<Login[]> {
    const names = Array.from({ length: count }, (_, n) => `${name}${n}`)
    if (this.kind === 'laneway') return this.#peopleOfOurs(names)
    const logins: Login[] = []
    await inParallel(names, 4, async (each, n) => (logins[n] = await this.register(each)))
    return logins
  }

  async #peopleOfOurs(names: readonly string[]): Promise<Login[]> {
    const users = new UserShards(this.stand.pool, {
      onCommit: () => {},
      maxWaiting: 2 * names.length,
    })
    const logins = await Promise.all(
      names.map(async (name) => {
        const userId = `@${name}:${this.serverName}`
        const token = `${name}-${crypto.randomUUID()}`
        await users.call('createUser', userId, { admin: false, createdAt: 1 })
        await users.call('createSession', userId, {
          deviceId: 'DEVICE',
          tokenHash: hashToken(token),
          createdAt: 1,
        })
        return new Login(this.url, userId, token)
      }),
    )
    await users.close()
    return logins
  }
}

/** What a database holds on disk, once nothing in it is dead. */
export async function databaseBytes(pool: Pool): Promise<number> {
  await pool`vacuum analyze`
  await pool`checkpoint`
  const [row] = await pool<{ bytes: number }[]>`
    select pg_database_size(current_database())::float as bytes`
  return row!.bytes
}

/** How a bench wants its server. */
export type WholeServerOptions = {
  kind?: Kind
  /** Made if there are none. */
  certificates?: Certificates
  /** Of ours. */
  laneway?: Partial<LanewayOptions>
  /** Of the other. */
  synapse?: SynapseOptions
  /** As `withStand` has it. */
  quick?: boolean
}

/** Gives `run` a server with a database of its own; both are gone afterwards. */
export function withWholeServer(
  run: (server: WholeServer) => Promise<void>,
  {
    kind = 'laneway',
    certificates: given,
    laneway: more,
    synapse,
    quick = false,
  }: WholeServerOptions = {},
): Promise<void> {
  return withStand(
    async (stand) => {
      const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
      const certificates = given ?? (await makeCertificates(`${folder}/certificates`))
      const [tls, client] = await freePorts(2)
      const wanted = {
        ports: { tls: tls!, client: client! },
        certificates,
        databaseUrl: stand.url,
      }
      const running =
        kind === 'synapse'
          ? await Synapse.prepare(`${folder}/synapse`, wanted, synapse)
          : await Laneway.prepare(`${folder}/laneway`, { ...wanted, ...more })
      const version = running instanceof Synapse ? running.version : 'Laneway'
      await running.start()
      try {
        await run(new WholeServer(stand, running, { kind, version, certificates }))
      } finally {
        await running.stop()
        await rm(folder, { recursive: true, force: true })
      }
    },
    { empty: kind === 'synapse', quick },
  )
}

/** Gives `run` our server, and with `against` another beside it, on a database of its own. */
export async function withServers(
  { against, ...options }: { against: string } & Omit<WholeServerOptions, 'kind'>,
  run: (own: WholeServer, other: WholeServer | undefined) => Promise<void>,
): Promise<void> {
  if (against === '') return withWholeServer((own) => run(own, undefined), options)
  if (against !== 'synapse') throw new Error('--against wants synapse')
  return withWholeServer(
    (own) => withWholeServer((other) => run(own, other), { ...options, kind: 'synapse' }),
    options,
  )
}

/** Our figures with those of the other server, which are the same in the same order. */
export const besides = (own: readonly Figure[], other: readonly Figure[]): Figure[] =>
  own.map((figure, index) => ({ ...figure, against: other[index]!.value }))

/** Does tasks with so many of them open at once. */
export async function inParallel<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, index: number) => Promise<unknown>,
): Promise<void> {
  const rest = items.entries()
  const worker = async () => {
    for (const [index, item] of rest) await work(item, index)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

export const mib = (kib: number) => `${(kib / 1024).toFixed(0)} MiB`
