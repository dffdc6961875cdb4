import { afterAll, beforeAll, expect, test } from 'bun:test'
import type { Person } from '#test/api/server-server/two-homes.ts'
import { until } from '#test/until.ts'
import { enc } from './actor.ts'
import { type Homes, openHomes } from './homes.ts'
import { judgementIn, splits } from './states.ts'

let homes: Homes
let ann: Person, ben: Person

beforeAll(async () => {
  homes = await openHomes(['one.test', 'two.test'])
  ;[ann, ben] = (await Promise.all(
    homes.servers.map((server, index) => server.person(['ann', 'ben'][index]!)),
  )) as [Person, Person]
})
afterAll(() => homes.remove())

// Before version 11 a redaction takes away who may invite, and so who may let others in.
test.each(['8', '10'])(
  'a server that comes after power levels were redacted judges by all of them, in version %s',
  async (version) => {
    const space = (await ann.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
    const roomId = (
      await ann.do('POST', 'createRoom', { preset: 'public_chat', room_version: version })
    ).room_id as string
    const path = `rooms/${enc(roomId)}`
    const levels = (await ann.do('GET', `${path}/state/m.room.power_levels/`)) as object
    const set = await ann.do('PUT', `${path}/state/m.room.power_levels/`, { ...levels, n: 1 })
    await ann.do('PUT', `${path}/redact/${enc(set.event_id as string)}/1`, {})
    for (const each of [space, roomId]) await ben.do('POST', `join/${enc(each)}?via=one.test`, {})
    await ann.do('PUT', `${path}/state/m.room.join_rules/`, {
      join_rule: 'restricted',
      allow: [{ type: 'm.room_membership', room_id: space }],
    })
    const ruled = async () =>
      ((await ben.do('GET', `${path}/state/m.room.join_rules/`)).join_rule as string) ===
      'restricted'
    await until(ruled)
    // Nobody of two.test may invite: the one who comes is let in by ann.
    const dan = await homes.servers[1]!.person(`dan${version}`)
    await dan.do('POST', `join/${enc(space)}?via=one.test`, {})
    await until(async () => {
      const { joined } = await ann.do('GET', `rooms/${enc(space)}/joined_members`)
      return Object.hasOwn(joined as object, dan.userId)
    })
    await dan.do('POST', `join/${enc(roomId)}?via=one.test`, {})
    const said = await dan.say(roomId, 'hello')
    const room = { roomId, version }
    const judge = () => Promise.all(homes.all.map(({ name, sql }) => judgementIn(name, sql, room)))
    await until(async () => (await judge()).every(({ judged }) => judged.has(said)))
    expect(splits(room, await judge())).toEqual([])
  },
)
