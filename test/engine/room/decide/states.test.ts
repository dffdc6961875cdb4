import { expect, test } from 'bun:test'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { Random } from '#test/differential/random.ts'
import {
  adopt,
  alice,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  setState,
  type Stage,
  us,
  until,
} from '#test/room-engine.ts'
import { judgementIn, splits } from '#test/simulation/states.ts'
import { RandomDag, type Sent } from './random-dag.ts'

const database = await testDatabase()
const servers = ['one.test', 'two.test', 'three.test'].map((name) => new MadeUpServer(name))

/** What lacks something waits for it, however long that takes. */
const limits = { attempts: 1000, retryMs: 10, inboxPollMs: 5 }
const perRoom = 60

const open = () => openStage(database, servers, { limits })

/** A room of ours with moderators of other servers, and what they go on to do in it. */
async function begin(stage: Stage, version: string, seed: number) {
  const roomId = await createRoom(stage, version)
  for (const server of servers) await joinFrom(stage, database, roomId, server, 'mod', 'user0')
  const users = Object.fromEntries(servers.map((server) => [server.user('mod'), 50]))
  await setState(stage, roomId, 'm.room.power_levels', {
    users: Number(version) < 12 ? { ...users, [alice]: 100 } : users,
    invite: 50,
    state_default: 50,
    events: { 'm.room.power_levels': 50, 'm.room.join_rules': 50, 'x.state': 0 },
  })
  await stage.engine.parts.persister.idle()
  const room = await adopt(database, roomId, ...servers)
  const { events } = await judgementIn(us.name, database.pool, { roomId, version })
  const ordered = [...events.values()].sort((a, b) => a.depth - b.depth)
  const dag = new RandomDag(room, servers, ordered, new Random(seed))
  while (dag.sent.length < perRoom) dag.step()
  return { roomId, version, dag }
}

/** Nearly in order: some come before what they cite. */
function disordered(sent: readonly Sent[], random: Random): Sent[] {
  const placed = sent.map((each, index) => ({ each, at: index + random.below(12) }))
  return placed.sort((a, b) => a.at - b.at).map(({ each }) => each)
}

async function play(stage: Stage, roomId: string, sent: readonly Sent[], random: Random) {
  const said: Promise<unknown>[] = []
  for (const [index, { server, text }] of sent.entries()) {
    await deliver(stage, database, roomId, server, [text])
    // Meanwhile we go on, on top of whatever there is.
    if (random.chance(0.3)) said.push(say(stage, roomId, `${index}`))
    if (random.chance(0.1)) said.push(setState(stage, roomId, 'x.state', { index }, '1'))
    if (random.chance(0.2)) await Promise.all(said)
  }
  await Promise.all(said)
}

test.each(['6', '8', '10', '12'])(
  'each event of a room that forks at random is judged by what its past resolves to, whatever came when, in version %s',
  async (version) => {
    for (const seed of [1, 2]) {
      const random = new Random(100 * seed + Number(version))
      const first = await open()
      const { roomId, dag } = await begin(first, version, seed)
      const sent = disordered(dag.sent, random)
      try {
        await play(first, roomId, sent.slice(0, perRoom / 2), random)
      } finally {
        await first.stop()
      }
      // And what is loaded again is what it was.
      await using second = await open()
      await play(second, roomId, sent.slice(perRoom / 2), random)
      await until(inboxIsEmpty(database, roomId))
      await second.engine.parts.persister.idle()
      const judgement = await judgementIn(us.name, database.pool, { roomId, version })
      expect([seed, splits({ roomId, version }, [judgement])]).toEqual([seed, []])
      const others = dag.sent.map(({ event }) => event.eventId)
      expect(others.filter((id) => !judgement.judged.has(id))).toEqual([])
      expect(others.filter((id) => judgement.rejected.has(id))).toEqual([...dag.rejected])
      expect(dag.rejected.size).toBeGreaterThan(0)
      expect(second.errors).toEqual([])
    }
  },
)
