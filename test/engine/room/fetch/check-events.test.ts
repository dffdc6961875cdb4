import { expect, test } from 'bun:test'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { checkMany } from '#engine/room/fetch/check-events.ts'
import { receiveMany } from '#engine/room/fetch/receive-events.ts'
import { idsOf, knownEvents } from '#test/engine/room/fetch/known.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'
import { patienceMs } from '#test/until.ts'

const first = new RemoteServer('first.test')
const second = new RemoteServer('second.test')

function scene(version: string) {
  const room = new RemoteRoom(version, [first, second])
  const residents = new Residents([first, second], [room])
  const receiving = {
    federation: residents,
    now: () => 1_700_000_100_000,
    deadlineMs: patienceMs,
    roomId: room.roomId,
  }
  const all = () => [...room.events.values()]
  return { room, residents, receiving, all }
}

const pdus = (events: readonly RoomEvent[]): JsonObject[] => events.map(({ pdu }) => pdu)

test.each(['1', '5', '11', '12'])(
  'events of version %s come in the order of the graph',
  async (v) => {
    const { room, receiving, all } = scene(v)
    for (let count = 0; count < 4; count++)
      room.say(room.join(second.user(`u${count}`)).sender, 'hi')
    const given = pdus(all()).reverse()
    const checked = await checkMany(room.version, given, receiving)
    expect(checked.accepted).toHaveLength(room.events.size)
    const ids = idsOf(checked.accepted)
    for (const [index, { event }] of checked.accepted.entries())
      for (const id of event.authEvents) expect(ids.slice(0, index)).toContain(id)
    expect(checked).toMatchObject({ rejected: [], dropped: [], lacking: [] })
    expect(checked.ids).toEqual(idsOf(all()).reverse())
    const received = await receiveMany(room.version, given, receiving)
    expect(idsOf(received.events)).toEqual([...room.events.keys()])
    expect(received.lacking).toEqual([])
  },
)

test('the keys of all events are asked for in one call, each server once', async () => {
  const { room, residents, receiving, all } = scene('11')
  for (let count = 0; count < 5; count++) room.join(second.user(`u${count}`))
  await checkMany(room.version, pdus(all()), receiving)
  expect(residents.keyCalls).toHaveLength(1)
  expect(residents.keyCalls[0]!.map(({ server }) => server)).toEqual([first.name, second.name])
  const latest = all().at(-1)!.originServerTs
  expect(residents.keyCalls[0]![1]!.minimumValidUntilTs).toBe(latest)
})

test('keys that are at hand are not asked for', async () => {
  const { room, residents, receiving, all } = scene('11')
  const keys = (name: string) => {
    const server = [first, second].find((each) => each.name === name)!
    return { publicKey: server.key.publicKey, validUntilTs: Number.MAX_SAFE_INTEGER, old: false }
  }
  const { accepted } = await checkMany(room.version, pdus(all()), { ...receiving, keys })
  expect(accepted).toHaveLength(room.events.size)
  expect(residents.keyCalls).toEqual([])
})

test('an event is given twice and counted once', async () => {
  const { room, receiving, all } = scene('6')
  const checked = await checkMany(room.version, [...pdus(all()), ...pdus(all())], receiving)
  expect(checked.accepted).toHaveLength(room.events.size)
})

test('what is known is not checked again, and is good as an auth event', async () => {
  const { room, receiving, all } = scene('12')
  const before = all()
  const bob = room.join(second.user('bob'))
  const known = knownEvents(before)
  const checked = await checkMany(room.version, pdus(all()), { ...receiving, known })
  expect(idsOf(checked.accepted)).toEqual([bob.eventId])
})

test('who cites a rejected event is rejected', async () => {
  const { room, receiving, all } = scene('10')
  const rules = room.state('m.room.join_rules', '')!
  const before = all().filter((event) => event !== rules)
  const bob = room.join(second.user('bob'))
  const known = knownEvents(before, [rules])
  const checked = await checkMany(room.version, [bob.pdu], { ...receiving, known })
  expect(checked.accepted).toEqual([])
  expect(checked.rejected.map(({ reason }) => reason)[0]).toContain('was rejected')
})

test('whose auth events cannot be had is dropped, not rejected, and so is who cites it', async () => {
  const { room, receiving } = scene('10')
  const bob = room.join(second.user('bob'))
  const hello = room.say(bob.sender, 'hello')
  const checked = await checkMany(room.version, pdus([bob, hello]), receiving)
  expect(checked).toMatchObject({ accepted: [], rejected: [] })
  expect(checked.dropped.map(({ eventId }) => eventId)).toEqual(idsOf([bob, hello]))
  expect(checked.lacking.sort()).toEqual(
    [...new Set([...bob.authEvents, ...hello.authEvents])]
      .filter((id) => id !== bob.eventId)
      .sort(),
  )
})

test('whose keys cannot be had is dropped, with a reason', async () => {
  const { room, residents, receiving, all } = scene('10')
  const bob = room.join(second.user('bob'))
  residents.keyless.add(second.name)
  const { accepted, dropped } = await checkMany(room.version, pdus(all()), receiving)
  expect(accepted).toHaveLength(room.events.size - 1)
  expect(dropped).toEqual([
    { eventId: bob.eventId, reason: expect.stringContaining(second.name) as string },
  ])
})

test('what is no event of the room is dropped', async () => {
  const { room, receiving } = scene('11')
  const other = new RemoteRoom('11', [second])
  const json = [{}, { type: 5 }, other.create.pdu, room.create.pdu] as JsonObject[]
  const checked = await checkMany(room.version, json, receiving)
  expect(idsOf(checked.accepted)).toEqual([room.create.eventId])
  expect(checked.dropped).toHaveLength(3)
  expect(checked.ids).toEqual([undefined, undefined, undefined, room.create.eventId])
})

test('an event before one that lacks is told as lacking', async () => {
  const { room, receiving } = scene('12')
  const one = room.say(room.creator, 'one')
  const two = room.say(room.creator, 'two')
  const three = room.say(room.creator, 'three')
  const received = await receiveMany(room.version, pdus([three, one]), receiving)
  expect(received.lacking.sort()).toEqual([...one.prevEvents, two.eventId].sort())
  const known = knownEvents([...room.events.values()].filter((event) => event === one))
  expect((await receiveMany(room.version, [three.pdu], { ...receiving, known })).lacking).toEqual([
    two.eventId,
  ])
})

test('others have turns while many events are checked', async () => {
  const { room, receiving, all } = scene('11')
  for (let count = 0; count < 300; count++) room.say(room.creator, String(count))
  let turns = 0
  const count = () => {
    turns++
    immediate = setImmediate(count)
  }
  let immediate = setImmediate(count)
  const before = turns
  await checkMany(room.version, pdus(all()), receiving)
  clearImmediate(immediate)
  expect(turns - before).toBeGreaterThan(1)
})
