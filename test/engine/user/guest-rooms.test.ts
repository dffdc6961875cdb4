import { afterAll, expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import { GuestRooms } from '#engine/user/guest-rooms.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import * as users from '#store/user/users.ts'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
afterAll(() => story.positions.close())

const alice = '@alice:here.example'
const guest = '@guest:here.example'
const account = { passwordHash: null, admin: false, agreed: null, createdAt: 1 }

test('a guest is taken out of the rooms that are not open to guests any more, others stay', async () => {
  await users.add(
    db.pool,
    [alice, guest].map((userId) => ({
      ...account,
      userId,
      shard: shardOf(userId),
      guest: userId === guest,
    })),
  )
  const rooms = [await story.room(alice), await story.room(alice), await story.room(alice)]
  for (const room of rooms) await room.member(guest, 'join')
  const [open, closed, never] = rooms as [Room, Room, Room]
  await open.state(alice, 'm.room.guest_access', '', { guest_access: 'can_join' })
  await closed.state(alice, 'm.room.guest_access', '', { guest_access: 'can_join' })
  await closed.state(alice, 'm.room.guest_access', '', { guest_access: 'forbidden' })

  const asked: string[] = []
  const guestRooms = new GuestRooms({
    sql: db.pool,
    rooms: {
      async call(_: string, roomId: string, change: { target: string; membership: string }) {
        asked.push(`${change.target} ${change.membership} ${roomId}`)
        return { eventId: '$x', shard: 0, position: 0 }
      },
    } as unknown as Rooms,
    onLanded: () => {},
    onFault: (error) => {
      throw error
    },
  })
  await guestRooms.look()
  await guestRooms.close()
  expect(asked.sort()).toEqual(
    [closed, never].map(({ roomId }) => `${guest} leave ${roomId}`).sort(),
  )
})

type Room = Awaited<ReturnType<typeof story.room>>
