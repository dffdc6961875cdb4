import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { Random } from '#test/core/random.ts'
import { serverOf } from './actor.ts'
import { differences, lastWords } from './agree.ts'
import { departures } from './clients.ts'
import { Follower } from './follower.ts'
import { type Homes, openHomes } from './homes.ts'
import { type Insight, lanewayKnowledge } from './knowledge.ts'
import { judgementIn, splits } from './states.ts'
import { World } from './world.ts'

const seconds = Number(process.env['LANEWAY_SIMULATION_SECONDS'] ?? 3)
const seed = Number(process.env['LANEWAY_SIMULATION_SEED'] ?? 1)
const changeJoinRules = process.env['LANEWAY_SIMULATION_JOIN_RULES'] !== undefined
const verbose = process.env['LANEWAY_SIMULATION_VERBOSE'] !== undefined
setDefaultTimeout(seconds * 1000 + 300_000)

let homes: Homes

beforeAll(async () => {
  homes = await openHomes(['one.test', 'two.test'], 'three.test')
})
afterAll(() => homes.remove())

const versions = ['1', '2', '6', '8', '10', '11', '12']

test(`servers whose links are cut at random agree in the end (seed ${seed})`, async () => {
  const random = new Random(seed)
  const actors = (
    await Promise.all(
      homes.all.map((server) =>
        Promise.all(['ann', 'ben', 'cat'].map((name) => server.person(name))),
      ),
    )
  ).flat()
  const world = new World(actors, { seed, changeJoinRules })
  const followers = actors.flatMap((actor, index) =>
    [
      { timeoutMs: 1000, limit: 50, stateAfter: false, pauseMs: 0, lazy: false },
      { timeoutMs: 200, limit: 3, stateAfter: true, pauseMs: 400, lazy: false },
      { timeoutMs: 0, limit: 10, stateAfter: index % 2 === 0, pauseMs: 900, lazy: index % 3 === 0 },
    ].map(
      (options, each) => new Follower(actor, options, new Random(seed * 77 + index * 3 + each)),
    ),
  )
  for (const follower of followers) follower.start()

  await world.makeRooms(versions)
  await Promise.all(
    actors.map(async (actor) => {
      // In turn, as who is in the first may join others.
      for (const room of world.rooms)
        if (!room.membership.has(actor.userId)) await world.join(actor, room)
    }),
  )
  const end = new AbortController()
  const living = world.live(end.signal, 120)
  const disturbing = disturb(random, end.signal)
  await Bun.sleep(seconds * 1000)
  end.abort()
  await Promise.all([living, disturbing])

  const insight: Insight = (server, room) =>
    lanewayKnowledge(homes.all.find(({ name }) => name === server)!.sql, room)
  const found: string[] = []
  await Promise.all(
    world.rooms.map(async (room) => {
      let differ: string[] = []
      for (let round = 1; round <= 3; round++) {
        await lastWords(world, room, round, insight)
        differ = await differences(world, room, insight)
        if (differ.length === 0) return
      }
      found.push(...differ)
    }),
  )
  await Promise.all(
    followers.map(async (follower) => {
      await follower.finish()
      found.push(...(await departures(follower, world.rooms, insight)))
    }),
  )
  for (const room of world.rooms)
    found.push(
      ...splits(
        room,
        await Promise.all(homes.all.map(({ name, sql }) => judgementIn(name, sql, room))),
      ),
    )
  for (const { status, who, what, room } of world.done)
    if (status === 500) found.push(`${who} in ${room}: ${status} ${what}`)
  found.push(...(await lost(world, insight)))
  if (verbose) report(world)
  expect(found).toEqual([])
})

/**
 * At first nobody hears of anybody, so that rooms fork. Then links are cut, refusing or silent, for a while
 * each; one server is killed, and another is stopped.
 */
async function disturb(random: Random, until: AbortSignal): Promise<void> {
  for (const link of homes.links) link.set('refusing')
  await Bun.sleep(seconds * 400)
  for (const link of homes.links) link.set('up')
  const cuts: Promise<void>[] = []
  const restarts = [homes.victim!, random.pick(homes.servers)]
  let restartAt = performance.now() + seconds * 100
  while (!until.aborted) {
    const link = random.pick(homes.links)
    link.set(random.next() < 0.7 ? 'refusing' : 'silent')
    cuts.push(Bun.sleep(200 + random.below(1500)).then(() => link.set('up')))
    if (restarts.length > 0 && performance.now() > restartAt) {
      const server = restarts.shift()!
      await server.stop()
      await Bun.sleep(random.below(300))
      await server.start()
      restartAt = performance.now() + seconds * 200
    }
    await Bun.sleep(random.below(700))
  }
  // However short the time was, or slow the machine.
  for (const server of restarts) {
    await server.stop()
    await server.start()
  }
  await Promise.all(cuts)
  for (const link of homes.links) link.set('up')
}

/** What a user was answered to be sent must be there, whatever became of the server. */
async function lost(world: World, insight: Insight): Promise<string[]> {
  const found = await Promise.all(
    world.rooms.flatMap((room) =>
      homes.all.map(async ({ name }) => {
        const { facts } = (await insight(name, room))!
        return world.done
          .filter(
            ({ room: roomId, who, id }) => roomId === room.roomId && serverOf(who) === name && id,
          )
          .filter(({ id }) => !facts.has(id!))
          .map(({ who, what, id }) => `${name} lost ${id} of ${who} in ${room.roomId}: ${what}`)
      }),
    ),
  )
  return found.flat()
}

function report(world: World): void {
  const counts = new Map<string, number>()
  for (const { what, status } of world.done) {
    const name = `${what.split(' ', 1)[0]} ${status}`
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  console.log(Object.fromEntries(counts))
  if (process.env['LANEWAY_SIMULATION_VERBOSE'] === 'all')
    for (const each of world.done) console.log(JSON.stringify(each))
}
