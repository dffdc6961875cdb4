import { beforeAll, describe, expect, test } from 'bun:test'
import { type DirectoryQuery, readDirectory } from '#engine/read/directory.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'

const db = await testDatabase()
const alice = '@alice:here.example'
let story: Story
/** Published rooms, the largest first. */
const published: StoryRoom[] = []

beforeAll(async () => {
  story = await Story.begin(db.pool)
  // Five rooms of 5, 4, 3, 3 and 1 members.
  for (const [index, size] of [5, 4, 3, 3, 1].entries()) {
    const room = await story.room(alice, { roomId: `!room${index}:here.example` })
    for (let member = 1; member < size; member++)
      await room.member(`@m${member}:here.example`, 'join')
    await publishedRooms.add(story.sql, room.roomId, story.now())
    published.push(room)
  }
  const [first, second, third] = published as [StoryRoom, StoryRoom, StoryRoom]
  await first.state(alice, 'm.room.name', '', { name: 'The Great Hall' })
  await first.state(alice, 'm.room.topic', '', { topic: 'Everything under the sun' })
  await first.state(alice, 'm.room.canonical_alias', '', { alias: '#hall:here.example' })
  await first.state(alice, 'm.room.avatar', '', { url: 'mxc://here.example/hall' })
  await first.state(alice, 'm.room.join_rules', '', { join_rule: 'public' })
  await first.state(alice, 'm.room.guest_access', '', { guest_access: 'can_join' })
  await first.state(alice, 'm.room.history_visibility', '', {
    history_visibility: 'world_readable',
  })
  await second.state(alice, 'm.room.create', '', { type: 'm.space' })
  await second.state(alice, 'm.room.topic', '', { topic: 'SUNSHINE' })
  await third.state(alice, 'm.room.name', '', { name: 7 })
  await third.state(alice, 'm.room.avatar', '', { url: 'https://elsewhere.example/x' })
})

const list = (query: DirectoryQuery = {}) => readDirectory(story, query)
const names = ({ chunk }: { chunk: { room_id: string }[] }) =>
  chunk.map((entry) => entry.room_id.slice(5, 6)).join('')

describe('the directory', () => {
  test('describes a room by its state', async () => {
    const { chunk, ...rest } = await list()
    expect(names({ chunk })).toBe('01234')
    expect(rest).toEqual({ total_room_count_estimate: 5 })
    expect(chunk[0]).toEqual({
      room_id: '!room0:here.example',
      num_joined_members: 5,
      name: 'The Great Hall',
      topic: 'Everything under the sun',
      canonical_alias: '#hall:here.example',
      avatar_url: 'mxc://here.example/hall',
      join_rule: 'public',
      guest_can_join: true,
      world_readable: true,
    })
    expect(chunk[1]).toMatchObject({ room_type: 'm.space' })
  })

  test('leaves out what is malformed, and takes what is not set for closed', async () => {
    const { chunk } = await list()
    expect(chunk[2]).toEqual({
      room_id: '!room2:here.example',
      num_joined_members: 3,
      join_rule: 'invite',
      guest_can_join: false,
      world_readable: false,
    })
  })

  test('is read in pages, forwards and back again', async () => {
    const one = await list({ limit: 2 })
    expect(names(one)).toBe('01')
    expect(one.prev_batch).toBeUndefined()
    const two = await list({ limit: 2, since: one.next_batch })
    expect(names(two)).toBe('23')
    const three = await list({ limit: 2, since: two.next_batch })
    expect(names(three)).toBe('4')
    expect(three.next_batch).toBeUndefined()
    const back = await list({ limit: 2, since: three.prev_batch })
    expect(names(back)).toBe('23')
    expect(names(await list({ limit: 2, since: back.next_batch }))).toBe('4')
    const start = await list({ limit: 2, since: back.prev_batch })
    expect(names(start)).toBe('01')
    expect(start.prev_batch).toBeUndefined()
  })

  test('finds texts in any case, in name, topic and main alias', async () => {
    expect(names(await list({ term: 'sun' }))).toBe('01')
    expect(names(await list({ term: 'great' }))).toBe('0')
    expect(names(await list({ term: '#HALL' }))).toBe('0')
    expect(await list({ term: 'nowhere' })).toEqual({ chunk: [] })
    const page = await list({ term: 'sun', limit: 1 })
    expect(names(page)).toBe('0')
    expect(names(await list({ term: 'sun', limit: 1, since: page.next_batch }))).toBe('1')
  })

  test('tells rooms by type; null stands for none', async () => {
    expect(names(await list({ roomTypes: ['m.space'] }))).toBe('1')
    expect(names(await list({ roomTypes: [null] }))).toBe('0234')
    expect(names(await list({ roomTypes: [null, 'm.space'] }))).toBe('01234')
    expect(names(await list({ roomTypes: [] }))).toBe('')
  })

  test('shows no room that is not published, or that nobody is in', async () => {
    const secret = await story.room(alice)
    const empty = await story.room('@gone:here.example')
    await publishedRooms.add(story.sql, empty.roomId, story.now())
    await empty.member('@gone:here.example', 'leave')
    await publishedRooms.add(story.sql, '!nowhere:here.example', story.now())
    const ids = (await list()).chunk.map((entry) => entry.room_id)
    expect(ids).not.toContain(secret.roomId)
    expect(ids).not.toContain(empty.roomId)
    expect(ids).toHaveLength(5)
  })

  test('refuses a token that is none of its own', async () => {
    const tokens = ['', 'x', '%', 'WyJmIl0', Buffer.from('["f",1e99,"!a"]').toString('base64url')]
    for (const since of tokens) await expect(list({ since })).rejects.toThrow('is not a token')
    await expect(list({ limit: -1 })).rejects.toThrow('negative')
  })

  test('answers no rooms to a limit of none', async () => {
    expect((await list({ limit: 0 })).chunk).toEqual([])
  })
})
