import { afterAll, beforeAll, expect, test } from 'bun:test'
import { createHmac } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificates } from '../certificates.ts'
import { Random } from '../core/random.ts'
import { Laneway, freePorts } from '../laneway.ts'
import type { Actor } from '../simulation/actor.ts'
import { departures, differences, lastWords } from '../simulation/agree.ts'
import { Follower } from '../simulation/follower.ts'
import { Link } from '../simulation/link.ts'
import { World } from '../simulation/world.ts'
import { Synapse } from './synapse.ts'
import { synapseVenv } from './venv.ts'

const seconds = Number(process.env['LANEWAY_SIMULATION_SECONDS'] ?? 10)
const seed = Number(process.env['LANEWAY_SIMULATION_SEED'] ?? 1)
const versions = ['1', '2', '6', '8', '10', '11', '12']

let directory: string
let servers: (Laneway | Synapse)[]
let links: Link[]

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'laneway-random-'))
  const certificates = await makeCertificates(`${directory}/certificates`)
  const ports = await freePorts(6)
  const names = [`127.0.0.1:${ports[0]}`, `127.0.0.1:${ports[2]}`, `localhost:${ports[4]}`]
  links = []
  const laneway = async (index: number) => {
    const staticDestinations: Record<string, string> = {}
    for (const [to, name] of names.entries()) {
      if (to === index) continue
      const link = await Link.to(ports[2 * to]!)
      links.push(link)
      staticDestinations[name] = `127.0.0.1:${link.port}`
    }
    return Laneway.prepare(`${directory}/laneway-${index}`, {
      ports: { tls: ports[2 * index]!, client: ports[2 * index + 1]! },
      certificates,
      staticDestinations,
      workers: 1,
    })
  }
  servers = [
    await laneway(0),
    await laneway(1),
    await Synapse.prepare(
      `${directory}/synapse`,
      await synapseVenv(),
      { tls: ports[4]!, client: ports[5]! },
      certificates,
    ),
  ]
  await Promise.all(servers.map((server) => server.start()))
}, 300_000)

afterAll(async () => {
  await Promise.all((servers ?? []).map((server) => server.stop()))
  await Promise.all((links ?? []).map((link) => link.close()))
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
}, 60_000)

/**
 * What Synapse shows of its history is not always what it has (test/differential/departures.ts says how
 * it judges): here events are compared that nobody's rights were in question of.
 */
test(`two Laneways and a Synapse, with the ways between them cut at random, agree in the end (seed ${seed})`, async () => {
  const actors = (
    await Promise.all(
      servers.map(({ clientUrl }) =>
        Promise.all(['ann', 'ben'].map((name) => register(clientUrl, name))),
      ),
    )
  ).flat()
  const world = new World(actors, { seed, changeJoinRules: false })
  const followers = actors.slice(0, 4).map(
    (actor, index) =>
      new Follower(
        actor,
        {
          timeoutMs: [1000, 200][index % 2]!,
          limit: [50, 3][index % 2]!,
          stateAfter: index % 2 === 1,
          pauseMs: 400 * (index % 2),
          lazy: false,
        },
        new Random(seed * 77 + index),
      ),
  )
  for (const follower of followers) follower.start()
  await world.makeRooms(versions)
  await Promise.all(
    actors.map(async (actor) => {
      for (const room of world.rooms)
        if (!room.membership.has(actor.userId)) await world.join(actor, room)
    }),
  )
  const end = new AbortController()
  const work = Promise.all([world.live(end.signal, 200), disturb(new Random(seed), end.signal)])
  await Bun.sleep(seconds * 1000)
  end.abort()
  await work

  const nothing = async () => undefined
  const found: string[] = []
  await Promise.all(
    world.rooms.map(async (room) => {
      let differ: string[] = []
      for (let round = 1; round <= 4; round++) {
        await lastWords(world, room, round)
        differ = await differences(world, room, nothing, (server) => !isSynapse(server))
        if (differ.length === 0) return
      }
      found.push(...differ)
    }),
  )
  for (const follower of followers) {
    await follower.finish()
    found.push(...(await departures(follower, world.rooms, nothing)))
  }
  if (process.env['LANEWAY_SIMULATION_VERBOSE'])
    for (const each of world.done) console.log(JSON.stringify(each))
  expect(found).toEqual([])
}, 300_000)

/** Read forwards from the start of a room, Synapse leaves out what it backfilled. */
const isSynapse = (server: string) => server.startsWith('localhost:')

/** Cuts the ways from the Laneways, for a while each. */
async function disturb(random: Random, until: AbortSignal): Promise<void> {
  const cuts: Promise<void>[] = []
  while (!until.aborted) {
    const link = random.pick(links)
    link.set('refusing')
    cuts.push(Bun.sleep(200 + random.below(1500)).then(() => link.set('up')))
    await Bun.sleep(random.below(1000))
  }
  await Promise.all(cuts)
}

async function register(clientUrl: string, name: string): Promise<Actor> {
  const url = `${clientUrl}/_synapse/admin/v1/register`
  const { nonce } = (await (await fetch(url)).json()) as { nonce: string }
  const password = `${name}-password`
  const mac = createHmac('sha1', 'interop')
    .update([nonce, name, password, 'notadmin'].join('\0'))
    .digest('hex')
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ nonce, username: name, password, admin: false, mac }),
  })
  const body = (await answer.json()) as { user_id: string; access_token: string }
  if (!answer.ok) throw new Error(`registering ${name}: ${JSON.stringify(body)}`)
  return {
    userId: body.user_id,
    async ask(method, path, content) {
      const response = await fetch(`${clientUrl}/_matrix/client/v3/${path}`, {
        method,
        headers: {
          authorization: `Bearer ${body.access_token}`,
          'content-type': 'application/json',
        },
        ...(content && { body: JSON.stringify(content) }),
        signal: AbortSignal.timeout(60_000),
      })
      return { status: response.status, body: await response.json() }
    },
  }
}
