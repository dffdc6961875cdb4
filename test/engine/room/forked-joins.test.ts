import { afterAll, beforeAll, expect, test } from 'bun:test'
import { until } from '#test/engine/federation/peers.ts'
import { enc, historyOf } from '#test/simulation/actor.ts'
import { type Homes, openHomes } from '#test/simulation/homes.ts'
import type { Person } from '#test/api/server-server/two-homes.ts'

let homes: Homes
let ann: Person, ben: Person, cat: Person

beforeAll(async () => {
  homes = await openHomes(['one.test', 'two.test', 'three.test'])
  ;[ann, ben, cat] = (await Promise.all(
    homes.servers.map((server, index) => server.person(['ann', 'ben', 'cat'][index]!)),
  )) as [Person, Person, Person]
})
afterAll(() => homes.remove())

// Neither join comes before the other, so each server finds the other's behind the gap before its own.
test.each(['1', '6', '12'])(
  'two servers that join at once through a third know each other, and read what was before as before, in version %s',
  async (version) => {
    const request = { preset: 'public_chat', room_version: version }
    const roomId = (await ann.do('POST', 'createRoom', request)).room_id as string
    await ann.say(roomId, 'before')
    await Promise.all(
      [ben, cat].map((each) => each.do('POST', `join/${enc(roomId)}?via=one.test`, {})),
    )
    const said = await ann.say(roomId, 'hello')
    for (const each of [ben, cat]) {
      await until(async () => (await each.texts(roomId)).includes('hello'))
      const { joined } = await each.do('GET', `rooms/${enc(roomId)}/joined_members`)
      expect(Object.keys(joined)).toHaveLength(3)
      const events = await historyOf(each, roomId, 'b', 50)
      expect(events[0]!.event_id).toBe(said)
      expect(events.at(-1)!.type).toBe('m.room.create')
      expect(events.slice(0, 3).map(({ type }) => type)).toEqual([
        'm.room.message',
        'm.room.member',
        'm.room.member',
      ])
      expect(await each.texts(roomId)).toEqual(['before', 'hello'])
    }
  },
)

test('users of one server that join at once through another are all in', async () => {
  const roomId = (await ann.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
  const [, two] = homes.servers
  const others = await Promise.all(
    ['dan', 'eve', 'fay', 'gus', 'hal'].map((each) => two!.person(each)),
  )
  await Promise.all(others.map((each) => each.do('POST', `join/${enc(roomId)}?via=one.test`, {})))
  for (const each of others) {
    const { joined } = await each.do('GET', `rooms/${enc(roomId)}/joined_members`)
    expect(Object.keys(joined)).toHaveLength(6)
    await each.say(roomId, 'hello')
  }
})
