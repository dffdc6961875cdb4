import { expect, test } from 'bun:test'
import type { RoomEvent } from '#core/event/pdu.ts'
import { testDatabase } from '#test/database.ts'
import { refusal, say, until } from '#test/room-engine.ts'
import { policedIn, limits, signed } from './policed.ts'

const database = await testDatabase()
const { openPoliced, isSigned } = policedIn(database)

test('so many local users wait for a policy server, and who comes then is told to come again', async () => {
  const gate = Promise.withResolvers<void>()
  const few = { ...limits, policyAsking: 3 }
  const late = async (event: RoomEvent) => {
    await gate.promise
    return signed(event)
  }
  await using scene = await openPoliced(late, { limits: few })
  const { roomId, asked } = scene
  const waiting = ['1', '2', '3'].map((body) => say(scene, roomId, body))
  await until(() => asked.length === 3)
  expect(await refusal(say(scene, roomId, '4'))).toEqual([429, 'M_LIMIT_EXCEEDED'])
  expect(asked).toHaveLength(3)
  gate.resolve()
  for (const { eventId } of await Promise.all(waiting))
    expect(await isSigned(scene, eventId)).toBe(true)
  const { eventId } = await say(scene, roomId, '5')
  expect(await isSigned(scene, eventId)).toBe(true)
})

test('so many wait for all policy servers, whichever these are', async () => {
  const gate = Promise.withResolvers<void>()
  const late = async (event: RoomEvent) => {
    await gate.promise
    return signed(event)
  }
  await using scene = await openPoliced(late, { limits: { ...limits, policyAskingInAll: 1 } })
  const first = say(scene, scene.roomId, '1')
  await until(() => scene.asked.length === 1)
  expect(await refusal(say(scene, scene.roomId, '2'))).toEqual([429, 'M_LIMIT_EXCEEDED'])
  gate.resolve()
  await first
})
