import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import type { JsonObject } from '#core/json.ts'
import { testDatabase } from '#test/database.ts'
import { deliver, inboxIsEmpty, say, stored, until } from '#test/room-engine.ts'
import { mallory, openScene, there } from './scene.ts'

const database = await testDatabase()

/** Numbers that version 6 forbids, as servers wrote them before. */
const loose = parseJson(
  '{"body":"loose","float":1.5,"big":90071992547409930,"small":-9007199254740993,"tiny":1e-7}',
) as JsonObject

test.each(['1', '2', '3', '4', '5'])(
  'an event of version %s with floats and big numbers is taken, keeps them, and is built upon',
  async (version) => {
    await using scene = await openScene(database, { version })
    const { roomId, room } = scene
    const { event, text } = room.add(mallory, 'm.room.message', loose)
    const after = room.say(mallory, 'after it')
    await deliver(scene, database, roomId, there, [text, after.text])
    await until(inboxIsEmpty(database, roomId))
    const row = (await stored(database, roomId, event.eventId))!
    expect(row.flags).toBe(0)
    expect(row.json).toContain('90071992547409930')
    expect(row.json).toContain('-9007199254740993')
    expect(row.json).toContain('1.5')
    expect((await stored(database, roomId, after.event.eventId))!.flags).toBe(0)
    // One of ours on top: its hashes are those of what is cited.
    await say(scene, roomId, 'ours')
    expect(scene.errors).toEqual([])
    expect(scene.drops).toEqual([])
  },
)

test('from version 6 on such an event is dropped', async () => {
  await using scene = await openScene(database, { version: '6' })
  const { roomId, room } = scene
  const { event, text } = room.say(mallory, 'strict')
  await deliver(scene, database, roomId, there, [text.replace('"strict"', '"strict","n":1.5')])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, event.eventId)).toBeUndefined()
  expect(scene.drops).toHaveLength(1)
})
