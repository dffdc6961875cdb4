import { describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { RemoteSpaces } from '#engine/read/remote-spaces.ts'

const roomId = '!room:one.test'
const via = ['one.test', 'two.test']
const room = { room_id: roomId, num_joined_members: 1 }

type Answer = JsonObject | number

/** What servers answer: an object, or the status of a failure. */
function spacesOf(answers: Record<string, Answer>) {
  const asked: string[] = []
  const clock = { now: 0 }
  const spaces = new RemoteSpaces(
    async (destination) => {
      asked.push(destination)
      const answer = answers[destination]!
      if (typeof answer === 'number') throw new RemoteError(destination, answer, 'M_UNKNOWN', '')
      return answer
    },
    () => clock.now,
  )
  return { asked, clock, spaces, answers }
}

describe('a room that other servers describe', () => {
  test('is asked for once, however many look, and again after five minutes', async () => {
    const { asked, clock, spaces } = spacesOf({ 'one.test': { room } })
    const found = await Promise.all([spaces.find(roomId, via), spaces.find(roomId, via)])
    expect(found.map((each) => each?.room.summary.room_id)).toEqual([roomId, roomId])
    expect(asked).toEqual(['one.test'])
    clock.now = 300_000
    await spaces.find(roomId, via)
    expect(asked).toEqual(['one.test', 'one.test'])
  })

  test('is asked for at the next server where one fails or says something else', async () => {
    for (const first of [500, 404, {}, { room: { ...room, room_id: '!other:one.test' } }]) {
      const { asked, spaces } = spacesOf({ 'one.test': first, 'two.test': { room } })
      expect((await spaces.find(roomId, via))?.room.summary.num_joined_members).toBe(1)
      expect(asked).toEqual(via)
    }
  })

  test('is told as soon as the servers tell of it, but not asked for by every page', async () => {
    const { asked, spaces, answers } = spacesOf({ 'one.test': 404, 'two.test': 404 })
    expect(await spaces.find(roomId, via)).toBeUndefined()
    expect(await spaces.find(roomId, via, { later: true })).toBeUndefined()
    expect(asked).toEqual(via)
    answers['one.test'] = { room }
    expect(await spaces.find(roomId, via)).toBeDefined()
    expect(await spaces.find(roomId, via, { later: true })).toBeDefined()
    expect(asked).toEqual([...via, 'one.test'])
  })

  test('is left alone for half a minute where a server does not answer', async () => {
    const { asked, clock, spaces } = spacesOf({ 'one.test': 0, 'two.test': 404 })
    expect(await spaces.find(roomId, via)).toBeUndefined()
    expect(await spaces.find(roomId, via)).toBeUndefined()
    expect(asked).toEqual(via)
    clock.now = 30_000
    expect(await spaces.find(roomId, via)).toBeUndefined()
    expect(asked).toEqual([...via, ...via])
  })
})
