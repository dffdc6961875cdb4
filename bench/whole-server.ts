import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hashToken } from '#engine/user/access-tokens.ts'
import { UserShards } from '#engine/user/owner.ts'
import { makeCertificates } from '#test/certificates.ts'
import { freePorts, Laneway, Login } from '#test/laneway.ts'
import { processUs, type Stand, withStand } from './stand.ts'

/** A server as an operator starts it, on the database of a bench, and what it costs. */
export class WholeServer {
  readonly stand: Stand
  readonly url: string
  readonly #laneway: Laneway

  constructor(stand: Stand, laneway: Laneway) {
    this.stand = stand
    this.url = laneway.clientUrl
    this.#laneway = laneway
  }

  get pid(): number {
    return this.#laneway.pid!
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

  /** Makes users with a session each, past HTTP and passwords; logins of them. */
  async people(count: number, name = 'user'): Promise<Login[]> {
    const users = new UserShards(this.stand.pool, { onCommit: () => {}, maxWaiting: 2 * count })
    const server = new URL(this.#laneway.federationUrl).host
    const logins = await Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const userId = `@${name}${n}:${server}`
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

/** Gives `run` a server with a database of its own; both are gone afterwards. */
export function withWholeServer(run: (server: WholeServer) => Promise<void>): Promise<void> {
  return withStand(async (stand) => {
    const folder = await mkdtemp(join(tmpdir(), 'laneway-bench-'))
    const certificates = await makeCertificates(`${folder}/certificates`)
    const [tls, client] = await freePorts(2)
    const laneway = await Laneway.prepare(`${folder}/laneway`, {
      ports: { tls: tls!, client: client! },
      certificates,
      databaseUrl: stand.url,
    })
    await laneway.start()
    try {
      await run(new WholeServer(stand, laneway))
    } finally {
      await laneway.stop()
      await rm(folder, { recursive: true, force: true })
    }
  })
}

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
