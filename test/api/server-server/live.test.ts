import { describe, expect, test } from 'bun:test'
import { PassingEdus } from '#engine/live/take-passing.ts'
import { until } from '#test/until.ts'
import { type Person, twoHomes } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const enc = encodeURIComponent
const roomId = (await alice.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
await bob.do('POST', `join/${enc(roomId)}?via=here.test`, {})
await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')

const type = (who: Person, typing: boolean) =>
  who.do('PUT', `rooms/${enc(roomId)}/typing/${enc(who.userId)}`, { typing, timeout: 60_000 })

const typists = async (who: Person): Promise<string[] | undefined> => {
  const answer = await who.do('GET', 'sync?timeout=0')
  const { events } = answer.rooms.join[roomId].ephemeral as {
    events: { type: string; content: { user_ids: string[] } }[]
  }
  return events.find((event) => event.type === 'm.typing')?.content.user_ids
}

describe('typing', () => {
  test('is seen on another server, and its end too', async () => {
    await type(alice, true)
    await until(async () => (await typists(bob))?.includes(alice.userId) === true)
    expect(await typists(bob)).toEqual([alice.userId])
    await type(alice, false)
    await until(async () => (await typists(bob)) === undefined)
  })

  test('is not taken from who is not in the room, nor from a server that the room shuts out', async () => {
    const edu = (userId: string) => ({
      type: 'm.typing' as const,
      roomId,
      userId,
      typing: true,
    })
    const { typing } = there.context
    const faults: unknown[] = []
    const passing = new PassingEdus({
      sql: there.context.sql,
      typing,
      rooms: there.context.intake.rooms,
      onFault: (error) => faults.push(error),
    })
    const before = typing.at
    passing.take('here.test', [edu('@nobody:here.test'), { ...edu(alice.userId), roomId: '!no:x' }])
    await until(() => Promise.resolve(passing.busy === 0))
    expect(typing.at).toBe(before)
    await alice.do('PUT', `rooms/${enc(roomId)}/state/m.room.server_acl/`, {
      allow: ['*'],
      deny: ['elsewhere.test', 'here.test'],
    })
    await until(async () => {
      const path = `rooms/${enc(roomId)}/state/m.room.server_acl/`
      return (await bob.ask('GET', path)).status === 200
    })
    passing.take('here.test', [edu(alice.userId)])
    await until(() => Promise.resolve(passing.busy === 0))
    expect([typing.at, faults]).toEqual([before, []])
  })
})
