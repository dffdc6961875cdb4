import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pool } from '#store/db.ts'
import { type Person, WholeServer } from '#test/api/server-server/two-homes.ts'
import { type TestDatabase, openTestDatabase } from '#test/database.ts'
import { Authority } from '#test/engine/federation/peers.ts'
import { newFolder } from '#test/folder.ts'
import { Laneway, freePorts } from '#test/laneway.ts'
import type { Actor } from './actor.ts'
import { Link } from './link.ts'

/** A server of the simulation. */
export type Home<P extends Actor = Actor> = {
  readonly name: string
  readonly sql: Pool
  start(): Promise<void>
  stop(): Promise<void>
  person(localpart: string): Promise<P>
  remove(): Promise<void>
}

export type Homes = {
  /** Servers in this process. */
  servers: Home<Person>[]
  /** One in a process of its own, whose end is always a `kill -9`. */
  victim: Home | undefined
  all: Home[]
  /** All ways between servers, each in one direction. */
  links: Link[]
  remove(): Promise<void>
}

type Setting = {
  name: string
  ports: { tls: number; client: number }
  certificates: { key: string; certificate: string; ca: string }
  staticDestinations: Record<string, string>
  database: TestDatabase
  folder: string
}

/** Whole servers over TLS on loopback, with a link of its own for every direction. */
export async function openHomes(
  localNames: readonly string[],
  victimName?: string,
): Promise<Homes> {
  const names = victimName === undefined ? localNames : [...localNames, victimName]
  const authority = await Authority.make()
  const folder = await newFolder('simulation')
  const files = join(folder, 'server')
  const { key, cert } = await authority.certify(...names)
  await Promise.all([
    writeFile(`${files}.key`, key),
    writeFile(`${files}.crt`, cert),
    writeFile(`${files}.ca`, authority.pem),
  ])
  const certificates = { key: `${files}.key`, certificate: `${files}.crt`, ca: `${files}.ca` }
  const ports = await freePorts(names.length + 1)
  const clientPort = ports.pop()!
  const links: Link[] = []
  const settings = await Promise.all(
    names.map(async (name, index) => {
      const ways = await Promise.all(ports.map((port) => Link.to(port)))
      links.push(...ways.filter((_, to) => to !== index))
      return {
        name,
        ports: { tls: ports[index]!, client: clientPort },
        certificates,
        staticDestinations: Object.fromEntries(
          names.map((other, to) => [other, `127.0.0.1:${ways[to]!.port}`]),
        ),
        database: await openTestDatabase(),
        folder: join(folder, name),
      } satisfies Setting
    }),
  )
  const servers = settings.slice(0, localNames.length).map(inThisProcess)
  const [last] = settings.slice(localNames.length)
  const victim = last && (await inAnother(last))
  const all: Home[] = victim ? [...servers, victim] : servers
  await Promise.all(all.map((home) => home.start()))
  return {
    servers,
    victim,
    all,
    links,
    async remove() {
      await Promise.all(all.map((each) => each.remove()))
      await Promise.all(links.map((each) => each.close()))
      await authority.remove()
    },
  }
}

const retrySeconds = [0.1, 0.5] as const
// What is cut off ends when the way is open again, so only a slow machine waits that long.
const requestTimeoutSeconds = 10

function inThisProcess(setting: Setting): Home<Person> {
  const { name, ports, certificates, staticDestinations, database } = setting
  const { key, certificate, ca } = certificates
  const server = new WholeServer(
    name,
    {
      server_name: name,
      database: { url: database.url, main_connections: 6, worker_connections: 3 },
      workers: { rooms: 1 },
      listeners: [
        { address: '127.0.0.1', port: 0, serves: ['client'] },
        {
          address: '127.0.0.1',
          port: ports.tls,
          serves: ['federation'],
          tls: { certificate, key },
        },
      ],
      federation: {
        static_destinations: staticDestinations,
        extra_ca: [ca],
        request_timeout_seconds: requestTimeoutSeconds,
        retry_min_seconds: retrySeconds[0],
        retry_max_seconds: retrySeconds[1],
      },
      rate_limits: { enabled: false },
      log: { level: 'silent' },
    },
    database,
  )
  return {
    name,
    sql: database.pool,
    start: () => server.start(),
    stop: () => server.stop(),
    person: (localpart) => server.person(localpart),
    remove: () => server.remove(),
  }
}

async function inAnother(setting: Setting): Promise<Home> {
  const { name, ports, certificates, staticDestinations, database, folder } = setting
  const server = await Laneway.prepare(folder, {
    serverName: name,
    ports,
    certificates,
    staticDestinations,
    databaseUrl: database.url,
    workers: 1,
    retrySeconds,
    requestTimeoutSeconds,
  })
  return {
    name,
    sql: database.pool,
    start: () => server.start(),
    stop: () => server.stop('SIGKILL'),
    async person(localpart) {
      const login = await server.register(localpart)
      return {
        userId: login.userId,
        async ask(method, path, body) {
          const answer = await login.request(method, `/_matrix/client/v3/${path}`, body)
          return { status: answer.status, body: await answer.json() }
        },
      }
    },
    async remove() {
      await server.stop('SIGKILL')
      await database.close()
    },
  }
}
