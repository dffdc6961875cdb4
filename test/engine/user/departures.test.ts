import { afterAll, expect, test } from 'bun:test'
import { forbidden, unavailable } from '#core/error.ts'
import { shardOf } from '#core/shard.ts'
import { Departures } from '#engine/user/departures.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import * as departures from '#store/user/departures.ts'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
afterAll(() => story.positions.close())

let people = 0
const someone = () => `@gone${++people}:here.example`
const add = (userId: string) => departures.add(db.pool, [{ userId, shard: shardOf(userId) }])
const isWaiting = async (userId: string) =>
  (await db.pool`select from departures where user_id = ${userId}`).length > 0

/** Answers for rooms, and what it was asked to leave. */
function leaver(answer: (roomId: string) => Promise<void>) {
  const asked: string[] = []
  const faults: string[] = []
  const rooms = {
    async call(_: string, roomId: string, change: { target: string; membership: string }) {
      asked.push(`${change.target} ${change.membership} ${roomId}`)
      await answer(roomId)
      return { eventId: '$x', shard: 0, position: 0 }
    },
  } as unknown as Rooms
  const leaving = new Departures({
    sql: db.pool,
    rooms,
    onLanded: () => {},
    onFault: (_, roomId) => faults.push(roomId),
    retryMs: 1,
  })
  return { leaving, asked, faults }
}

test('a deactivated user leaves each room that they are in, once', async () => {
  const userId = someone()
  const room = await story.room(userId)
  await add(userId)
  const { leaving, asked } = leaver(async () => {})
  leaving.wake()
  await leaving.settled()
  expect(asked).toEqual([`${userId} leave ${room.roomId}`])
  expect(await isWaiting(userId)).toBe(false)
  await leaving.close()
})

test('a room that cannot be left just then is tried again, and one that refuses is given up', async () => {
  const userId = someone()
  const [busy, strict] = [await story.room(userId), await story.room(userId)]
  await add(userId)
  let failures = 0
  const { leaving, asked, faults } = leaver(async (roomId) => {
    if (roomId === strict.roomId) throw forbidden('no')
    if (++failures < 3) throw unavailable('later')
  })
  leaving.wake()
  await until(async () => !(await isWaiting(userId)))
  await leaving.close()
  expect(asked.filter((each) => each.endsWith(busy.roomId))).toHaveLength(3)
  expect(faults).toContain(strict.roomId)
})

test('what was not finished is gone on with by the next one', async () => {
  const userId = someone()
  await story.room(userId)
  await add(userId)
  const broken = leaver(() => Promise.reject(unavailable('away')))
  broken.leaving.wake()
  await until(() => broken.asked.length > 0)
  await broken.leaving.close()
  expect(await isWaiting(userId)).toBe(true)
  const next = leaver(async () => {})
  next.leaving.wake()
  await next.leaving.settled()
  expect(next.asked).toHaveLength(1)
  expect(await isWaiting(userId)).toBe(false)
  await next.leaving.close()
})
