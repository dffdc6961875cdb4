import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { members } from '#store/room/server-sets.ts'
import { testDatabase } from '#test/database.ts'
import { alice, createRoom, openStage, us } from '#test/room-engine.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'

const database = await testDatabase()

async function joinSetOf(roomId: string): Promise<string[] | undefined> {
  const [row] = await database.pool<{ join_set: number | null }[]>`
    select join_set from rooms where room_id = ${roomId}`
  const set = row!.join_set
  if (set === null) return undefined
  const nids = (await members(database.pool, [set])).get(set)!
  const rows = await database.pool<{ name: string }[]>`
    select name from servers where server_nid = any(${nids}::int[]) order by name`
  return rows.map(({ name }) => name)
}

test('the servers that are named when we are let in are kept with the room', async () => {
  const resident = new RemoteServer('resident.test')
  const room = new RemoteRoom('11', [resident])
  const residents = new Residents([resident], [room])
  residents.lie = ({ name }, answer) =>
    name === 'send_join'
      ? {
          status: 200,
          body: {
            ...(answer.body as JsonObject),
            servers_in_room: ['resident.test', 'more.test', us.name, 'not a server'],
          },
        }
      : answer
  await using stage = await openStage(database, [], { federation: residents })
  const request = { userId: alice, content: '{}', via: [resident.name] }
  await stage.rooms.call('join', room.roomId, request)
  expect(await joinSetOf(room.roomId)).toEqual(['more.test', 'resident.test'])
  expect(stage.errors).toEqual([])
})

test('a room that was made here has no such servers', async () => {
  await using stage = await openStage(database)
  expect(await joinSetOf(await createRoom(stage))).toBeUndefined()
})
