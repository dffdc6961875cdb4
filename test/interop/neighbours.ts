import { Database } from 'bun:sqlite'
import { rm } from 'node:fs/promises'
import { makeCertificates } from '../certificates.ts'
import { openTestDatabase, type TestDatabase } from '../database.ts'
import { Laneway, type Login, freePorts, registerBySecret } from '../laneway.ts'
import { until } from '../until.ts'
import { openFolder } from './folder.ts'
import type { Stored } from './person.ts'
import { Synapse } from './synapse.ts'
import { synapseVenv } from './venv.ts'

export type Read = Stored & { unsigned?: { redacted_because?: unknown } }

const path = (roomId: string) => `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}`

/** A Laneway into which history is imported, and who reads it from elsewhere: a Synapse and another Laneway. */
export class Neighbours {
  readonly folder: string
  readonly home: Laneway
  readonly away: Laneway
  readonly synapse: Synapse
  readonly #databases: readonly [TestDatabase, TestDatabase]
  /** An administrator where the history comes in, who makes the rooms. */
  readonly root: Login
  #said = 0

  private constructor(
    folder: string,
    servers: { home: Laneway; away: Laneway; synapse: Synapse },
    databases: readonly [TestDatabase, TestDatabase],
    root: Login,
  ) {
    this.folder = folder
    this.home = servers.home
    this.away = servers.away
    this.synapse = servers.synapse
    this.#databases = databases
    this.root = root
  }

  static async open(): Promise<Neighbours> {
    const folder = await openFolder('import')
    const certificates = await makeCertificates(`${folder}/certificates`)
    const databases = [await openTestDatabase(), await openTestDatabase()] as const
    const ports = await freePorts(6)
    const laneway = (name: string, at: number, database: TestDatabase) =>
      Laneway.prepare(`${folder}/${name}`, {
        ports: { tls: ports[at]!, client: ports[at + 1]! },
        certificates,
        databaseUrl: database.url,
      })
    const home = await laneway('home', 0, databases[0])
    const away = await laneway('away', 2, databases[1])
    const synapse = await Synapse.prepare(
      `${folder}/synapse`,
      await synapseVenv(),
      { tls: ports[4]!, client: ports[5]! },
      certificates,
    )
    await Promise.all([home.start(), away.start(), synapse.start()])
    const root = await home.register('root', true)
    return new Neighbours(folder, { home, away, synapse }, databases, root)
  }

  async close(): Promise<void> {
    await Promise.all([this.home.stop(), this.away.stop(), this.synapse.stop()])
    for (const database of this.#databases) await database.close()
    if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${this.folder}`)
    else await rm(this.folder, { recursive: true, force: true })
  }

  /** Somebody on the Synapse. */
  guest(name: string): Promise<Login> {
    return registerBySecret(this.synapse.clientUrl, 'interop', name)
  }

  async say(who: Login, roomId: string, body: string): Promise<string> {
    const at = `${path(roomId)}/send/m.room.message/t${++this.#said}`
    const message = { msgtype: 'm.text', body }
    return (await who.ask<{ event_id: string }>('PUT', at, message)).event_id
  }

  /** A public room, into which these come. */
  async room(
    wish: { room_version: string; initial_state?: object[] },
    ...members: readonly Login[]
  ): Promise<string> {
    const { room_id: roomId } = await this.root.ask<{ room_id: string }>(
      'POST',
      '/_matrix/client/v3/createRoom',
      { preset: 'public_chat', ...wish },
    )
    for (const member of members) await this.join(member, roomId)
    return roomId
  }

  /** Lets somebody join, and waits until the room's own server knows. */
  async join(who: Login, roomId: string): Promise<void> {
    const via = encodeURIComponent(this.home.serverName)
    await who.ask('POST', `/_matrix/client/v3/join/${encodeURIComponent(roomId)}?via=${via}`, {})
    const member = `${path(roomId)}/state/m.room.member/${encodeURIComponent(who.userId)}`
    await until(async () => (await this.root.request('GET', member)).ok)
  }

  /** How many events of a room nothing cites yet, here and on the Synapse. */
  async ends(roomId: string): Promise<{ home: number; synapse: number }> {
    const [row] = await this.#databases[0].pool<{ ends: number }[]>`
      select count(*)::int as ends from rooms join extremities using (shard, room_nid)
      where room_id = ${roomId}`
    using database = new Database(`${this.folder}/synapse/homeserver.db`, { readonly: true })
    database.run('pragma busy_timeout = 30000')
    const there = database
      .query<{ ends: number }, [string]>(
        'select count(*) as ends from event_forward_extremities where room_id = ?',
      )
      .get(roomId)
    return { home: row!.ends, synapse: there!.ends }
  }
}

/** All pages that somebody reads, the oldest event first. */
export async function read(
  who: Login,
  roomId: string,
  dir: 'b' | 'f' = 'b',
  limit = 100,
): Promise<Read[]> {
  const events: Read[] = []
  let from = ''
  for (;;) {
    const { chunk, end } = await who.get<{ chunk: Read[]; end?: string }>(
      `${path(roomId)}/messages?dir=${dir}&limit=${limit}${from}`,
    )
    events.push(...chunk)
    if (end === undefined || (dir === 'f' && chunk.length === 0)) break
    from = `&from=${encodeURIComponent(end)}`
  }
  return dir === 'b' ? events.reverse() : events
}

/** What was said, in this order; what was redacted is told as `-`. */
export const texts = (events: readonly Read[]): string[] =>
  events
    .filter(({ type }) => type === 'm.room.message')
    .map(({ content: { body } }) => (typeof body === 'string' ? body : '-'))

export async function textsOf(...asked: Parameters<typeof read>): Promise<string[]> {
  return texts(await read(...asked))
}

/** Waits until a server has an event; nothing else is fetched by it. */
export const untilThere = (who: Login, roomId: string, eventId: string): Promise<void> =>
  until(
    async () =>
      (await who.request('GET', `${path(roomId)}/event/${encodeURIComponent(eventId)}`)).ok,
  )

/** The state as a server tells it: `type|state_key` → event ID. */
export async function stateOf(who: Login, roomId: string): Promise<Map<string, string>> {
  const events = await who.get<Read[]>(`${path(roomId)}/state`)
  return new Map(
    events
      .map((event) => [`${event.type}|${event.state_key}`, event.event_id] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}
