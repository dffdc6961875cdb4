import { afterAll, beforeAll, expect, test } from 'bun:test'
import { createHmac } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { makeCertificates } from '../certificates.ts'
import { Random } from '../core/random.ts'
import { type TestDatabase, openTestDatabase } from '../database.ts'
import { Laneway, freePorts } from '../laneway.ts'
import type { Actor, ClientEvent } from '../simulation/actor.ts'
import { type Excuses, differences, lastWords } from '../simulation/agree.ts'
import { departures } from '../simulation/clients.ts'
import { Follower } from '../simulation/follower.ts'
import { type Insight, lanewayKnowledge } from '../simulation/knowledge.ts'
import { Link } from '../simulation/link.ts'
import { World } from '../simulation/world.ts'
import { patienceMs } from '../until.ts'
import { openFolder } from './folder.ts'
import { Synapse } from './synapse.ts'
import { synapseVenv } from './venv.ts'

const seconds = Number(process.env['LANEWAY_SIMULATION_SECONDS'] ?? 10)
const seed = Number(process.env['LANEWAY_SIMULATION_SEED'] ?? 1)
const changeJoinRules = process.env['LANEWAY_SIMULATION_JOIN_RULES'] !== undefined
const versions = ['1', '2', '6', '8', '10', '11', '12']

let directory: string
let laneways: { laneway: Laneway; database: TestDatabase }[]
let synapse: Synapse
/** Every way between two servers, in each direction. */
let links: Link[]

beforeAll(async () => {
  directory = await openFolder('random')
  const certificates = await makeCertificates(`${directory}/certificates`)
  const [synapseTls, synapseClient, ...ports] = await freePorts(6)
  const synapseName = `localhost:${synapseTls}`
  // Synapse finds a server by its name only, so a Laneway is named for the way that leads to it.
  const toLaneways = await Promise.all([Link.to(ports[0]!), Link.to(ports[2]!)])
  const names = toLaneways.map(({ port }) => `127.0.0.1:${port}`)
  links = [...toLaneways]
  laneways = await Promise.all(
    names.map(async (serverName, index) => {
      const other = 1 - index
      const [toOther, toSynapse] = await Promise.all([
        Link.to(ports[2 * other]!),
        Link.to(synapseTls!),
      ])
      links.push(toOther, toSynapse)
      const database = await openTestDatabase()
      const laneway = await Laneway.prepare(`${directory}/laneway-${index}`, {
        serverName,
        ports: { tls: ports[2 * index]!, client: ports[2 * index + 1]! },
        certificates,
        staticDestinations: {
          [names[other]!]: `127.0.0.1:${toOther.port}`,
          [synapseName]: `127.0.0.1:${toSynapse.port}`,
        },
        databaseUrl: database.url,
        workers: 1,
      })
      return { laneway, database }
    }),
  )
  synapse = await Synapse.prepare(
    `${directory}/synapse`,
    await synapseVenv(),
    { tls: synapseTls!, client: synapseClient! },
    certificates,
  )
  await Promise.all([synapse.start(), ...laneways.map(({ laneway }) => laneway.start())])
})

afterAll(async () => {
  await Promise.all([synapse?.stop(), ...(laneways ?? []).map(({ laneway }) => laneway.stop())])
  await Promise.all((laneways ?? []).map(({ database }) => database.close()))
  await Promise.all((links ?? []).map((link) => link.close()))
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
})

test(`two Laneways and a Synapse, restarted and cut off from each other at random, agree in the end (seed ${seed})`, async () => {
  const urls = [...laneways.map(({ laneway }) => laneway.clientUrl), synapse.clientUrl]
  const actors = (
    await Promise.all(
      urls.map((url) => Promise.all(['ann', 'ben'].map((name) => register(url, name)))),
    )
  ).flat()
  const world = new World(actors, { seed, changeJoinRules })
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
  const random = new Random(seed)
  const work = Promise.all([
    world.live(end.signal, 200),
    cutLinks(random, end.signal),
    restartEach(new Random(seed + 1)),
  ])
  await Bun.sleep(seconds * 1000)
  end.abort()
  await work

  const found: string[] = []
  await Promise.all(
    world.rooms.map(async (room) => {
      let differ: string[] = []
      for (let round = 1; round <= 4; round++) {
        await lastWords(world, room, round, insight)
        differ = await differences(world, room, insight, excuses)
        if (differ.length === 0) return
      }
      found.push(...differ)
    }),
  )
  for (const follower of followers) {
    await follower.finish()
    found.push(...(await departures(follower, world.rooms, insight)))
  }
  if (process.env['LANEWAY_SIMULATION_VERBOSE'])
    for (const each of world.done) console.log(JSON.stringify(each))
  expect(found).toEqual([])
})

const insight: Insight = async (server, room) => {
  if (server === synapse.serverName) return synapse.knowledge(room)
  const { database } = laneways.find(({ laneway }) => laneway.serverName === server)!
  return lanewayKnowledge(database.pool, room)
}

const excuses: Excuses = {
  // From the start of a room on, Synapse leaves out what it backfilled.
  readsForward: (server) => server !== synapse.serverName,
  // Its joined_rooms has them, and every other call refuses them.
  forgetsToTell: (server) => server === synapse.serverName,
  // Synapse merges forks with these, and shows them to none of its clients.
  hides: (server, { type }: ClientEvent) =>
    server === synapse.serverName && type === 'org.matrix.dummy_event',
}

/** Cuts ways between servers, for a while each. */
async function cutLinks(random: Random, until: AbortSignal): Promise<void> {
  const cuts: Promise<void>[] = []
  while (!until.aborted) {
    const link = random.pick(links)
    link.set(random.next() < 0.7 ? 'refusing' : 'silent')
    cuts.push(Bun.sleep(200 + random.below(1500)).then(() => link.set('up')))
    await Bun.sleep(random.below(1000))
  }
  await Promise.all(cuts)
}

/** Every server is away once; one Laneway ends as it should, and the other is killed. */
async function restartEach(random: Random): Promise<void> {
  const first = random.below(2)
  for (const [index, { laneway }] of [laneways[first]!, laneways[1 - first]!].entries()) {
    await Bun.sleep(random.below(1000))
    await laneway.stop(index === 0 ? 'SIGTERM' : 'SIGKILL')
    await Bun.sleep(random.below(500))
    await laneway.start()
  }
  await synapse.stop()
  await synapse.start()
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
        signal: AbortSignal.timeout(patienceMs),
      })
      return { status: response.status, body: await response.json() }
    },
  }
}
