import { afterAll, expect, test } from 'bun:test'
import { Presence } from '#engine/live/presence.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type SyncAnswer } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const presence = new Presence({
  sql: db.pool,
  serverName: story.serverName,
  clock: story.clock,
  epoch: 1,
  onChange: (rooms) => story.positions.nudge(rooms, 'presence'),
  onOwn: async () => {},
  onFault(error) {
    throw error
  },
})
Object.assign(story, { presence })
afterAll(() => story.positions.close())

const waiters = 150
const people = Array.from({ length: waiters }, (_, index) => `@user${index}:here.example`)
const alice = '@alice:here.example'

/** Statements while something goes on, but for the look at positions that comes every few seconds. */
async function counting(body: () => Promise<unknown>): Promise<string[]> {
  const texts: string[] = []
  const options = db.pool.options as { debug: unknown }
  options.debug = (_connection: number, text: string) => texts.push(text)
  await body()
  options.debug = false
  return texts.filter((text) => !/^select shard, position from (room|user)_shards$/.test(text))
}

test('who comes and who types costs no statement for those who wait, however many they are', async () => {
  const room = await story.room(alice)
  for (const userId of people) await room.member(userId, 'join')
  presence.put(alice, 'A', 'unavailable', undefined)
  await presence.settled()
  const tokens = new Map<string, string>()
  for (const userId of people) tokens.set(userId, (await story.sync(userId)).next_batch)

  const told = async (change: () => void) => {
    const waiting = people.map((userId) =>
      story.sync(userId, { since: tokens.get(userId)!, timeoutMs: 600_000 }),
    )
    // All of them wait, and are woken for nothing.
    await until(() => story.positions.nudge([room.roomNid], 'typing') === waiters)
    let answers: SyncAnswer[] = []
    const texts = await counting(async () => {
      change()
      await presence.settled()
      answers = await Promise.all(waiting)
    })
    for (const [index, { next_batch }] of answers.entries()) tokens.set(people[index]!, next_batch)
    return { texts, answers }
  }
  const came = await told(() => presence.put(alice, 'A', 'online', 'here'))
  expect(came.texts).toEqual([])
  for (const { next_batch: _, ...answer } of came.answers)
    expect(answer).toEqual({
      presence: {
        events: [
          {
            type: 'm.presence',
            sender: alice,
            content: {
              presence: 'online',
              last_active_ago: 0,
              status_msg: 'here',
              currently_active: true,
            },
          },
        ],
      },
      device_one_time_keys_count: { signed_curve25519: 0 },
      device_unused_fallback_key_types: [],
      device_lists: { changed: [], left: [] },
    } as never)

  const { roomNid, roomId, shard } = room
  const typed = await told(() => story.typing.start({ shard, roomNid, roomId }, alice, 30_000))
  expect(typed.texts).toEqual([])
  for (const { rooms, ...answer } of typed.answers) {
    expect(rooms!.join![roomId]).toMatchObject({
      ephemeral: { events: [{ type: 'm.typing', content: { user_ids: [alice] } }] },
    } as never)
    expect(answer).not.toHaveProperty('presence')
  }
})

test('who does not want to know who comes is not woken for it', async () => {
  const room = await story.room(alice)
  const bob = '@bob:here.example'
  await room.member(bob, 'join')
  const filter = { presence: { not_types: ['m.presence'] } }
  const { next_batch: since } = await story.sync(bob, { filter })
  const waiting = story.sync(bob, { since, filter, timeoutMs: 600_000 })
  await until(() => story.positions.nudge([room.roomNid], 'typing') === 1)
  await until(() => story.positions.nudge([room.roomNid], 'typing') === 1)
  expect(story.positions.nudge([room.roomNid], 'presence')).toBe(0)
  await room.send(alice, 'hello')
  expect(Object.keys((await waiting).rooms!.join!)).toEqual([room.roomId])
})
