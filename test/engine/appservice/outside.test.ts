import { expect, test } from 'bun:test'
import { readRegistration } from '#core/appservice-registration.ts'
import { appservicesOf } from '#core/appservice.ts'
import { signEvent } from '#core/event/build.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import { Bridges } from '#engine/appservice/bridges.ts'
import { AppserviceRequests } from '#engine/federation/appservice-requests.ts'
import { Positions } from '#engine/read/positions.ts'
import { silentLog } from '#src/log.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { alice, openStage, until, us } from '#test/room-engine.ts'
import { openListener } from './bridging.ts'

const database = await testDatabase()
const there = new MadeUpServer('there.test')
const mallory = there.user('mallory')

test('an invite to a room that only another server is in comes with what is shown of the room', async () => {
  const listener = openListener()
  const registration = readRegistration(
    {
      id: 'bridge',
      url: listener.url,
      as_token: 'as',
      hs_token: 'hs-secret',
      sender_localpart: 'bot',
      namespaces: { users: [{ regex: alice, exclusive: true }] },
    },
    us.name,
  )
  if ('faults' in registration) throw new Error(registration.faults.join())
  await using stage = await openStage(database, [there])
  const { pool: sql } = database
  const positions = new Positions(sql, { serverName: us.name, log: silentLog, lookEveryMs: 20 })
  await positions.start()
  const requests = new AppserviceRequests({ extraAuthorities: [], maxInFlight: 8 })
  const bridges = await Bridges.start(appservicesOf([registration.appservice]), {
    sql,
    log: silentLog,
    clock: Date.now,
    serverName: us.name,
    positions,
    ask: (request) => requests.ask(request),
    deadlineMs: 60_000,
    firstMs: 10,
    longestMs: 100,
    maxQueued: 1_000,
    keepMs: 86_400_000,
  })
  try {
    const room = MadeUpRoom.create('11', mallory, there)
    const { event } = room.make(
      mallory,
      'm.room.member',
      { membership: 'invite' },
      { stateKey: alice },
    )
    const signing = { serverName: us.name, key: us.key }
    const signed = canonicalEvent(event.version, signEvent(event.version, event.pdu, signing))!
    const name = { type: 'm.room.name', state_key: '', sender: mallory, content: { name: 'Den' } }
    await stage.rooms.call('receiveInvite', event.roomId, '11', signed, [JSON.stringify(name)])
    await until(() => {
      bridges.tell()
      return listener.events.length > 0
    })
    expect(listener.events).toEqual([
      expect.objectContaining({
        type: 'm.room.member',
        room_id: event.roomId,
        event_id: event.eventId,
        sender: mallory,
        state_key: alice,
        content: { membership: 'invite' },
      }),
    ])
    expect(listener.events[0]!['unsigned'].invite_room_state).toContainEqual(name)
  } finally {
    await bridges.stop()
    positions.close()
  }
})
