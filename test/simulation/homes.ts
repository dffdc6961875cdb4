import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestDatabase } from '#test/database.ts'
import { freePorts } from '#test/laneway.ts'
import { Authority } from '#test/engine/federation/peers.ts'
import { WholeServer } from '#test/api/server-server/two-homes.ts'
import { roomVersions } from '#core/room-version.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import type { Fact } from './agree.ts'
import { Link } from './link.ts'

export type Homes = {
  servers: WholeServer[]
  /** All ways between servers, each in one direction. */
  links: Link[]
  remove(): Promise<void>
}

/** Whole servers in this process, over TLS on loopback, with a link of its own for every direction. */
export async function openHomes(names: readonly string[]): Promise<Homes> {
  const authority = await Authority.make()
  const files = join(tmpdir(), `laneway-simulation-${crypto.randomUUID()}`)
  const { key, cert } = await authority.certify(...names)
  await Promise.all([
    writeFile(`${files}.key`, key),
    writeFile(`${files}.crt`, cert),
    writeFile(`${files}.ca`, authority.pem),
  ])
  const ports = await freePorts(names.length)
  const links: Link[] = []
  const servers = await Promise.all(
    names.map(async (name, index) => {
      const ways = await Promise.all(ports.map((port) => Link.to(port)))
      links.push(...ways.filter((_, to) => to !== index))
      const static_destinations = Object.fromEntries(
        names.map((other, to) => [other, `127.0.0.1:${ways[to]!.port}`]),
      )
      const database = await openTestDatabase()
      const tls = { certificate: `${files}.crt`, key: `${files}.key` }
      const server = new WholeServer(
        name,
        {
          server_name: name,
          database: { url: database.url, main_connections: 6, worker_connections: 3 },
          workers: { rooms: 1 },
          listeners: [
            { address: '127.0.0.1', port: 0, serves: ['client'] },
            { address: '127.0.0.1', port: ports[index], serves: ['federation'], tls },
          ],
          federation: {
            static_destinations,
            extra_ca: [`${files}.ca`],
            request_timeout_seconds: 2,
            retry_min_seconds: 0.1,
            retry_max_seconds: 0.5,
          },
          rate_limits: { enabled: false },
          log: logging(name),
        },
        database,
      )
      await server.start()
      return server
    }),
  )
  return {
    servers,
    links,
    async remove() {
      await Promise.all(servers.map((each) => each.remove()))
      await Promise.all(links.map((each) => each.close()))
      await Promise.all(['key', 'crt', 'ca'].map((end) => Bun.file(`${files}.${end}`).delete()))
      await authority.remove()
    },
  }
}

/** What the servers of this process know of the events of a room. */
export async function factsOf(
  server: WholeServer,
  roomId: string,
  version: string,
): Promise<Map<string, Fact>> {
  const rows = await server.context.sql<
    { event_id: Uint8Array; live: boolean; flags: number; json: string; place: string }[]
  >`
    select e.event_id, e.position is not null live, e.flags, j.json,
      concat_ws(' ', 'chain', e.chain, e.chain_index, 'position', e.position, 'flags', e.flags) place
    from events e join event_json j using (shard, event_nid)
    where e.room_nid = (select room_nid from rooms where room_id = ${roomId})`
  return new Map(
    rows.map(({ event_id, live, flags, json, place }) => {
      const event = JSON.parse(json) as {
        prev_events: (string | [string])[]
        type: string
        sender: string
      }
      const prev = event.prev_events
      return [
        unpackEventId(event_id, roomVersions.get(version)!),
        {
          prev: prev.map((each) => (typeof each === 'string' ? each : each[0])),
          live,
          place: `${event.type} of ${event.sender}, ${place}`,
          softFailed: (flags & 2) !== 0,
        },
      ]
    }),
  )
}

/** For whoever looks for the cause of a difference: a folder for one log a server. */
function logging(name: string): object {
  const folder = process.env['LANEWAY_SIMULATION_LOGS']
  return folder ? { level: 'info', file: `${folder}/${name}.log` } : { level: 'silent' }
}
