import { expect, test } from 'bun:test'
import type { Steps } from '#core/state-res/steps.ts'
import type { AuthChains } from '#engine/room/decide/auth-chains.ts'
import type { AuthGraph } from '#store/room/auth-graph.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  stored,
  until,
} from '#test/room-engine.ts'

const database = await testDatabase()
const there = new MadeUpServer('there.test')
const mallory = there.user('mallory')

/**
 * Makes every resolution of a room take as long as `gate` says: it keeps the processor busy, and
 * yields as the rules of the house want it, every half millisecond.
 */
function slow(auth: AuthChains, gate: { open: boolean; steps: number }): void {
  const read = auth.read.bind(auth)
  auth.read = function* (...args: Parameters<AuthChains['read']>) {
    const graph = yield* read(...args)
    const difference = graph.difference.bind(graph)
    graph.difference = function* (...sets: Parameters<AuthGraph['difference']>): Steps<number[]> {
      while (!gate.open) {
        const until = performance.now() + 0.5
        while (performance.now() < until);
        gate.steps++
        yield
      }
      return yield* difference(...sets) as Steps<number[]>
    } as AuthGraph['difference']
    auth.read = read
    return graph
  }
}

test('while a resolution runs in one room, events of others of the same worker are committed, and local sends of its own', async () => {
  // All shards are of one engine: every room is of the same worker.
  await using stage = await openStage(database, [there])
  const [forked, quiet] = [await createRoom(stage), await createRoom(stage)]
  const theirs = await joinFrom(stage, database, forked, there, 'mallory')
  const others = await joinFrom(stage, database, quiet, there, 'mallory')
  const fork = ['left', 'right'].map((displayname) =>
    theirs.make(
      mallory,
      'm.room.member',
      { membership: 'join', displayname },
      { stateKey: mallory },
    ),
  )
  const gate = { open: false, steps: 0 }
  slow(stage.engine.lane(forked).room!.auth, gate)

  const texts = fork.map(({ text }) => text)
  await deliver(stage, database, forked, there, texts)
  await until(() => gate.steps > 0)

  // Twenty of the other room, one after another, then local sends in both.
  for (let n = 0; n < 20; n++) {
    const { text, event } = others.say(mallory, `${n}`)
    await deliver(stage, database, quiet, there, [text])
    await until(async () => (await stored(database, quiet, event.eventId)) !== undefined)
  }
  const landed = [await say(stage, quiet, 'next door'), await say(stage, forked, 'in here too')]
  expect(new Set(landed.map(({ eventId }) => eventId)).size).toBe(2)
  // And it went on all the while.
  const steps = gate.steps
  await until(() => gate.steps > steps)
  const last = fork.at(-1)!.event.eventId
  expect(await stored(database, forked, last)).toBeUndefined()

  gate.open = true
  await until(inboxIsEmpty(database, forked))
  expect(await stored(database, forked, last)).toMatchObject({ flags: 0 })
  expect(stage.errors).toEqual([])
})
