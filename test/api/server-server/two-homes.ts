import { afterAll } from 'bun:test'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { hashToken } from '#engine/user/access-tokens.ts'
import { Config } from '#src/config.ts'
import { silentLog } from '#src/log.ts'
import { type Server, startServer } from '#src/server.ts'
import { openTestDatabase, type TestDatabase } from '#test/database.ts'
import { Authority } from '#test/engine/federation/peers.ts'
import { newFolder } from '#test/folder.ts'
import { freePorts } from '#test/ports.ts'
import { patienceMs } from '#test/until.ts'

/** A whole server in this process, asked over its socket. */
export class WholeServer {
  readonly name: string
  readonly #config: object
  readonly #database: TestDatabase
  #server: Server | undefined

  constructor(name: string, config: object, database: TestDatabase) {
    this.name = name
    this.#config = config
    this.#database = database
  }

  get context() {
    return this.#server!.context
  }

  async start(): Promise<void> {
    const config = Value.Default(Config, structuredClone(this.#config)) as Config
    this.#server = await startServer(config, { log: silentLog, version: 'test' })
  }

  async stop(): Promise<void> {
    await this.#server?.stop()
    this.#server = undefined
  }

  async remove(): Promise<void> {
    await this.stop()
    await this.#database.close()
  }

  async person(localpart: string): Promise<Person> {
    const userId = `@${localpart}:${this.name}`
    const token = `${localpart}-${crypto.randomUUID()}`
    const { users } = this.context
    await users.call('createUser', userId, { admin: false, createdAt: 1 })
    await users.call('createSession', userId, {
      deviceId: 'D',
      tokenHash: hashToken(token),
      createdAt: 1,
    })
    return new Person(this, userId, token)
  }

  get clientPort(): number {
    return this.#server!.listening.find(({ tls }) => !tls)!.port
  }
}

type Answer = { status: number; body: any }

/** A logged-in user. */
export class Person {
  readonly userId: string
  readonly #home: WholeServer
  readonly token: string

  constructor(home: WholeServer, userId: string, token: string) {
    this.#home = home
    this.userId = userId
    this.token = token
  }

  /** A request with the user's token, to any path. */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${this.token}`)
    return fetch(`http://127.0.0.1:${this.#home.clientPort}${path}`, { ...init, headers })
  }

  async ask(method: string, path: string, body?: object): Promise<Answer> {
    const response = await this.fetch(`/_matrix/client/v3/${path}`, {
      method,
      ...(body && { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: await response.json() }
  }

  /** The same, where anything but 200 fails the test. */
  async do(method: string, path: string, body?: object): Promise<any> {
    const answer = await this.ask(method, path, body)
    if (answer.status === 200) return answer.body
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
  }

  /** Sends a message; its event ID. */
  async say(roomId: string, body: string): Promise<string> {
    const path = `rooms/${encodeURIComponent(roomId)}/send/m.room.message/${crypto.randomUUID()}`
    return (await this.do('PUT', path, { msgtype: 'm.text', body })).event_id as string
  }

  /** The texts of a room that this user sees, oldest first. */
  async texts(roomId: string): Promise<string[]> {
    const path = `rooms/${encodeURIComponent(roomId)}/messages?dir=b&limit=100`
    const { status, body } = await this.ask('GET', path)
    if (status !== 200) return []
    return (body.chunk as { type: string; content: { body?: string } }[])
      .filter(({ type }) => type === 'm.room.message')
      .map(({ content }) => content.body!)
      .reverse()
  }

  async membershipOf(roomId: string, userId: string): Promise<string | undefined> {
    const path = `rooms/${encodeURIComponent(roomId)}/state/m.room.member/${encodeURIComponent(userId)}`
    const { status, body } = await this.ask('GET', path)
    return status === 200 ? (body.membership as string) : undefined
  }
}

/**
 * Two servers that know each other, over TLS on loopback, until the calling file's last test. Call it at
 * the top of the file: `const [here, there] = await twoHomes()`.
 */
export async function twoHomes(
  names: readonly [string, string] = ['here.test', 'there.test'],
  more: (name: string) => object = () => ({}),
): Promise<[WholeServer, WholeServer]> {
  const authority = await Authority.make()
  const files = join(await newFolder('homes'), 'home')
  const { key, cert } = await authority.certify(...names)
  await Promise.all([
    writeFile(`${files}.key`, key),
    writeFile(`${files}.crt`, cert),
    writeFile(`${files}.ca`, authority.pem),
  ])
  const ports = await freePorts(names.length)
  const static_destinations = Object.fromEntries(
    names.map((name, index) => [name, `127.0.0.1:${ports[index]}`]),
  )
  const home = async (name: string, index: number) => {
    const database = await openTestDatabase()
    const tls = { certificate: `${files}.crt`, key: `${files}.key` }
    const config = {
      server_name: name,
      data_dir: `${files}-${index}`,
      database: { url: database.url, main_connections: 6, worker_connections: 3 },
      workers: { rooms: 1 },
      listeners: [
        { address: '127.0.0.1', port: 0, serves: ['client', 'admin'] },
        { address: '127.0.0.1', port: ports[index], serves: ['federation'], tls },
      ],
      federation: {
        static_destinations,
        extra_ca: [`${files}.ca`],
        request_timeout_seconds: patienceMs / 1000,
        retry_min_seconds: 0.1,
        retry_max_seconds: 1,
      },
      rate_limits: { enabled: false },
      log: { level: 'silent' },
      ...more(name),
    }
    const server = new WholeServer(name, config, database)
    await server.start()
    return server
  }
  const homes: [WholeServer, WholeServer] = [await home(names[0], 0), await home(names[1], 1)]
  afterAll(async () => {
    await Promise.all(homes.map((each) => each.remove()))
    await authority.remove()
  })
  return homes
}
