import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import {
  alice,
  deliver,
  inboxIsEmpty,
  say,
  setState,
  store,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, openScene, other, there } from './scene.ts'
import { destinations } from './serving.ts'

const database = await testDatabase()

test('what waited in the inbox when its server was kept out does not come in', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  const [early, late] = [room.say(mallory, 'early'), room.say(mallory, 'late')]
  // The intake let them in; the list changes before their turn.
  const entries = await store(database, roomId, there, [early.text])
  await setState(stage, roomId, 'm.room.server_acl', { allow: ['*'], deny: ['there.test'] })
  await stage.rooms.call('receive', roomId, entries)
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, early.event.eventId)).toBeUndefined()
  expect(stage.drops).toEqual(['there.test: the server may not take part'])

  // Whoever else passes the events on may do so: the list is about who talks to us.
  await deliver(stage, database, roomId, other, [early.text, late.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, late.event.eventId)).toMatchObject({ flags: 0 })

  // And with the list gone the server is heard again.
  await setState(stage, roomId, 'm.room.server_acl', { allow: ['*'] })
  const again = room.say(mallory, 'again')
  await deliver(stage, database, roomId, there, [again.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, again.event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.errors).toEqual([])
})

// Spec: client-server-api/#server-behaviour-14: "Servers should still send events to denied servers"
test('a server that is kept out still gets what is sent while its users are in the room', async () => {
  await using stage = await openScene(database)
  const { roomId } = stage
  const list = { allow: ['*'], deny: ['there.test'] }
  const { eventId } = await setState(stage, roomId, 'm.room.server_acl', list)
  const said = await say(stage, roomId, 'for all')
  for (const id of [eventId, said.eventId])
    expect(await destinations(database, roomId, id)).toContain(there.name)
  // Until they are gone.
  await stage.rooms.call('changeMembership', roomId, {
    sender: alice,
    target: mallory,
    membership: 'leave',
    content: '{}',
  })
  const later = await say(stage, roomId, 'for others')
  expect(await destinations(database, roomId, later.eventId)).not.toContain(there.name)
})
