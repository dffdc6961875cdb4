import { expect, test } from 'bun:test'
import { type Changes, countServers, destinations } from '#engine/room/decide/changes.ts'
import * as serverSets from '#store/room/server-sets.ts'
import { testDatabase } from '#test/database.ts'
import { createRoom, joinFrom, openStage, until } from '#test/room-engine.ts'
import { there } from './scene.ts'

const database = await testDatabase()

test('a server that joins while the set of servers gets its number is in the next set', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage)
  await joinFrom(stage, database, roomId, there, 'mallory')
  const { parts } = stage.engine
  const room = stage.engine.lane(roomId).room!
  await until(() => room.uncommitted.size === 0)
  const nothing: Changes = { state: [], servers: new Map(), turnedAway: new Map() }
  const nid = (await parts.interner.intern({ servers: ['new.test'] })).server('new.test')
  room.serverSet = undefined

  const first = destinations(parts, room, nothing)
  const waiting = first.next().value as Promise<void>
  countServers(room, { ...nothing, servers: new Map([[nid, { name: 'new.test', by: 1 }]]) })
  room.revision++
  await waiting
  expect(first.next().done).toBe(true)

  const set = (await parts.turns.seat(true).run(destinations(parts, room, nothing)))!
  expect((await serverSets.members(database.pool, [set])).get(set)).toContain(nid)
})
