import { expect, test } from 'bun:test'
import { type MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  createRoom,
  deliver,
  joinFrom,
  openStage,
  say,
  stored,
  until,
} from '#test/room-engine.ts'
import { there } from './scene.ts'

const database = await testDatabase()
const never = () => new Promise<never>(() => {})

/** It takes connections and answers nothing. */
const hanging = new MadeUpServer('hanging.test')
/** The same, and nobody has its keys. */
const keyless = new MadeUpServer('keyless.test')
const [good, mute, unknown] = [there.user('good'), hanging.user('mute'), keyless.user('who')]
const rooms = 50

test('fifty rooms beside a peer that never answers, whatever it is asked, all get on', async () => {
  const made: { roomId: string; room: MadeUpRoom }[] = []
  const servers = [there, hanging, keyless]
  {
    await using stage = await openStage(database, servers)
    const setUp = async () => {
      const roomId = await createRoom(stage)
      await joinFrom(stage, database, roomId, hanging, 'mute')
      await joinFrom(stage, database, roomId, keyless, 'who')
      await joinFrom(stage, database, roomId, there, 'good')
      made.push({ roomId, room: await adopt(database, roomId, ...servers) })
    }
    await Promise.all(Array.from({ length: rooms }, setUp))
  }
  // A fresh engine knows no keys.
  await using stage = await openStage(database, servers)
  const { engine, federation } = stage
  federation.late.set(keyless.name, never())
  const asked = new Map<string, number>()
  federation.answer = ({ uri }) => {
    const name = uri.split('/')[4]!
    asked.set(name, (asked.get(name) ?? 0) + 1)
    // What is asked for in its stead never comes.
    if (name === 'get_missing_events' || name === 'event_auth')
      return { status: 404, body: '{"errcode":"M_NOT_FOUND","error":"No"}' }
    return never()
  }
  for (const [n, { roomId, room }] of made.entries()) {
    const hidden = [room.say(mute, 'never sent', { aside: true }).event.eventId]
    const wish = n % 2 === 0 ? { prev: hidden } : { auth: hidden }
    const { text } = room.say(mute, 'behind it, or by an unknown right', { ...wish, aside: true })
    await deliver(stage, database, roomId, hanging, [text])
    const foreign = room.say(unknown, 'signed by a key that nobody has', { aside: true })
    await deliver(stage, database, roomId, keyless, [foreign.text])
  }
  await until(() => (asked.get('state_ids') ?? 0) > 0 && (asked.get('event') ?? 0) > 0)

  // Behind that in each lane: another server's event, and one of our own.
  const expected: [roomId: string, eventId: string][] = []
  for (const { roomId, room } of made) {
    const { event, text } = room.say(good, 'we go on')
    await deliver(stage, database, roomId, there, [text])
    expected.push([roomId, event.eventId])
  }
  const own = await Promise.all(made.map(({ roomId }) => say(stage, roomId, 'so do we')))
  for (const [index, { eventId }] of own.entries()) expected.push([made[index]!.roomId, eventId])
  for (const [roomId, eventId] of expected) {
    await until(async () => (await stored(database, roomId, eventId)) !== undefined)
    expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
  }
  // What waits for the peer is bounded.
  const { searchesPerOrigin } = engine.parts.limits
  expect(engine.counters()['parked']).toBeLessThanOrEqual(rooms)
  const searching = [...engine.lanes.values()].flatMap((lane) => [...engine.searchesOf(lane)])
  expect(searching.length).toBeLessThanOrEqual(searchesPerOrigin)
})
