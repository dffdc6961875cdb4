import { expect, test } from 'bun:test'
import { type Audience, type ReadEvent, writeEvent } from '#engine/read/events.ts'
import { type Made, MadeUpRoom, MadeUpServer } from '#test/builders.ts'

const server = new MadeUpServer('here.test')
const alice = server.user('alice')
const room = MadeUpRoom.create('11', alice, server)

const audience: Audience = {
  userId: '@bob:here.test',
  deviceId: 'D',
  now: 0,
  format: 'client',
  withoutRoomId: false,
  erased: { size: 1, has: (userId) => userId === alice },
}
const read = ({ event }: Made) => ({ event, internal: {} }) as unknown as ReadEvent
const bodyOf = (made: Made, membership?: string, more: Partial<Audience> = {}) =>
  (writeEvent(read(made), { ...audience, ...more }, { membership })['content'] as { body?: string })
    .body

test('who was there goes on to see what an erased user said, who came later does not', () => {
  const said = room.say(alice, 'said')
  expect(bodyOf(said, 'join')).toBe('said')
  for (const membership of ['leave', 'invite', 'knock', 'ban'])
    expect(bodyOf(said, membership)).toBeUndefined()
  expect(bodyOf(said, 'leave', { format: 'federation' })).toBeUndefined()
})

test('of others nothing is hidden, nor is the state that a room consists of', () => {
  const said = room.say(alice, 'said')
  const erased = { size: 1, has: () => false }
  expect(bodyOf(said, 'leave', { erased })).toBe('said')
  const member = [...room.events.values()].find(({ event }) => event.type === 'm.room.member')!
  const written = writeEvent(read(member), audience, { membership: 'leave' })
  expect(written['content']).toMatchObject({ membership: 'join' })
})
