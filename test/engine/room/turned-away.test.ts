import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { alice, bob, createRoom, openStage, setState } from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'
import { destinations, invite, leaveByTemplate } from './serving.ts'

const database = await testDatabase()

test.each(['leave', 'ban'] as const)(
  'a server whose user is invited no longer, by a %s, is told so though nobody of it was in the room',
  async (membership) => {
    await using stage = await openStage(database, [there])
    const roomId = await createRoom(stage, '11')
    const change = (target: string) =>
      stage.rooms.call('changeMembership', roomId, {
        sender: alice,
        target,
        membership,
        content: '{}',
      })
    await invite(stage, roomId)
    const { eventId } = await change(mallory)
    expect(await destinations(database, roomId, eventId)).toEqual([there.name])
    // What comes after is none of its business.
    const later = await setState(stage, roomId, 'm.room.topic', { topic: 'tea' })
    expect(await destinations(database, roomId, later.eventId)).toEqual([])
    await invite(stage, roomId, bob)
    const local = await change(bob)
    expect(await destinations(database, roomId, local.eventId)).toEqual([])
  },
)

test('a server whose user declines an invite knows that', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  await invite(stage, roomId)
  const { landed } = await leaveByTemplate(stage, roomId, '11')
  expect(await destinations(database, roomId, landed.eventId)).toEqual([])
})
