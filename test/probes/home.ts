import { rm } from 'node:fs/promises'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { makeCertificates } from '#test/certificates.ts'
import { openTestDatabase, type TestDatabase } from '#test/database.ts'
import { freePorts } from '#test/laneway.ts'
import { Peer, type PeerRoom } from '#test/peer.ts'
import { type Person, WholeServer } from '#test/api/server-server/two-homes.ts'
import { newFolder } from '#test/folder.ts'

export const homeName = 'home.test'

/** A whole server in this process, with a room worker of its own, and made-up peers that it can reach. */
export class Home {
  readonly server: WholeServer
  readonly database: TestDatabase
  readonly peers: Peer[]
  /** Where peers send to. */
  readonly base: string
  readonly #folder: string
  #txns = 0

  private constructor(
    server: WholeServer,
    parts: Pick<Home, 'database' | 'peers' | 'base'> & { folder: string },
  ) {
    this.server = server
    this.database = parts.database
    this.peers = parts.peers
    this.base = parts.base
    this.#folder = parts.folder
  }

  static async open(...names: string[]): Promise<Home> {
    return Home.openOn(await openTestDatabase(), ...names)
  }

  static async openOn(database: TestDatabase, ...names: string[]): Promise<Home> {
    const folder = await newFolder('home')
    const certificates = await makeCertificates(folder, names)
    const peers = names.map((name) => new Peer(name, certificates))
    const [port] = await freePorts(1)
    const server = new WholeServer(
      homeName,
      configOf(database, certificates.ca, port!, peers),
      database,
    )
    await server.start()
    return new Home(server, { database, peers, base: `http://127.0.0.1:${port}`, folder })
  }

  async remove(): Promise<void> {
    await this.server.remove()
    await Promise.all(this.peers.map((peer) => peer.stop()))
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** A public room of a local user. */
  async room(creator: Person, version = '11'): Promise<string> {
    const wish = { preset: 'public_chat', room_version: version }
    return (await creator.do('POST', 'createRoom', wish)).room_id as string
  }

  joined(peer: Peer, roomId: string, localpart: string): Promise<PeerRoom> {
    return peer.join(this.base, homeName, roomId, peer.user(localpart))
  }

  /** One transaction of a peer. */
  send(
    peer: Peer,
    pdus: readonly (RoomEvent | Json)[],
  ): Promise<{ status: number; body: JsonObject }> {
    return peer.ask(this.base, homeName, 'PUT', `/_matrix/federation/v1/send/t${++this.#txns}`, {
      origin: peer.serverName,
      origin_server_ts: Date.now(),
      pdus: pdus.map((pdu) => (isEvent(pdu) ? pdu.pdu : pdu)),
    })
  }

  /** What is stored of an event: its flags, where it is live, its JSON; once readers are given it. */
  async stored(
    event: RoomEvent,
  ): Promise<{ flags: number; position: number | null; json: string } | undefined> {
    const id = event.version.eventFormat === 'named' ? Buffer.from(event.eventId) : hashOf(event)
    const [row] = await this.database.pool<
      { flags: number; shard: number; position: number | null; json: string }[]
    >`
      select e.flags, e.shard, e.position, j.json
      from event_ids i
      join events e on e.shard = i.shard and e.event_nid = i.event_nid
      join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
      where i.event_id = ${id}`
    // A commit is there before the main thread is told of it.
    const { positions } = this.server.context
    return row && positions.roomsAt(row.shard) >= (row.position ?? 0) ? row : undefined
  }
}

const hashOf = ({ eventId }: RoomEvent) => Buffer.from(eventId.slice(1), 'base64url')

const isEvent = (pdu: RoomEvent | Json): pdu is RoomEvent =>
  typeof pdu === 'object' && pdu !== null && 'pdu' in pdu && 'eventId' in pdu

const configOf = (database: TestDatabase, ca: string, port: number, peers: readonly Peer[]) => ({
  server_name: homeName,
  database: { url: database.url, main_connections: 6, worker_connections: 4 },
  workers: { rooms: 1 },
  listeners: [
    { address: '127.0.0.1', port: 0, serves: ['client'], trusted_proxies: [] },
    // Behind a proxy, which would have the certificate.
    { address: '127.0.0.1', port, serves: ['federation'] },
  ],
  federation: {
    static_destinations: Object.fromEntries(peers.map((peer) => [peer.serverName, peer.address])),
    extra_ca: [ca],
    blocked_ip_ranges: [],
  },
  passwords: { memory_kib: 64, iterations: 1 },
  rate_limits: { enabled: false },
  log: { level: 'silent' },
})

/** Whether a promise is still open after so many ms. */
export async function isOpen(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const settled = promise.then(
    () => false,
    () => false,
  )
  return Promise.race([settled, Bun.sleep(ms).then(() => true)])
}
