import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test'
import { unavailable } from '#core/error.ts'
import { Introductions } from '#engine/user/keys/introductions.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { Users } from '#engine/user/protocol.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const sql = db.pool
const owner = new UserShards(sql, { onCommit: () => {} })
/** What the owner of the users is asked, before it is. */
let before = async (_method: string): Promise<void> => {}
const users: Users = {
  call: async (method: never, ...args: never) => {
    await before(method)
    return (owner.call as (...all: unknown[]) => never)(method, ...(args as unknown[]))
  },
} as unknown as Users
const faults: unknown[] = []
let story: Story
let following: Introductions | undefined
let count = 0

beforeAll(async () => {
  story = await Story.begin(sql)
})
beforeEach(() => {
  before = async () => {}
  faults.length = 0
})
afterAll(async () => {
  await following?.close()
  await owner.close()
})

/** A run of the server, with what it knows of how far it is. */
async function begin(): Promise<void> {
  await following?.close()
  following = new Introductions({
    sql,
    serverName: story.serverName,
    users,
    positions: story.positions,
    onFault: (error) => faults.push(error),
    retryMs: 10,
  })
  following.start()
}

async function stop(): Promise<void> {
  await following?.close()
  following = undefined
}

/** A user with a device that has keys. */
async function person(): Promise<string> {
  const userId = `@user${++count}:here.example`
  const { keys } = new Device({ userId, deviceId: 'D' })
  await owner.call('createSession', userId, {
    deviceId: 'D',
    tokenHash: new Uint8Array(Buffer.from(userId.padEnd(32))),
    createdAt: 1,
  })
  await owner.call('uploadKeys', userId, {
    deviceId: 'D',
    deviceKeys: JSON.stringify(keys),
    oneTimeKeys: [],
    fallbackKeys: [],
  })
  return userId
}

/** A room of another server. */
async function roomOf(server: string): Promise<StoryRoom> {
  return story.room(`@carol:${server}`)
}

/** Servers that are told of a user's devices, as often as they are. */
async function told(userId: string): Promise<string[]> {
  const rows = await sql<{ server: string; json: string }[]>`
    select server, json from outbox_edus order by edu_id`
  return rows.flatMap(({ server, json }) => {
    const { edu_type: type, content } = JSON.parse(json)
    return type === 'm.device_list_update' && content.user_id === userId ? [server] : []
  })
}

/** Everything that was committed has been gone through. */
async function settled(): Promise<void> {
  await story.positions.settled()
  await following!.settled()
}

test('who comes to a room is introduced to its servers, and not again by a new name', async () => {
  const alice = await person()
  await begin()
  const room = await roomOf('one.test')
  await room.member('@dan:two.test', 'join')
  await room.member(alice, 'invite', { by: '@carol:one.test' })
  await settled()
  expect(await told(alice)).toEqual([])
  await room.member(alice, 'join')
  await until(async () => (await told(alice)).length === 2)
  expect((await told(alice)).toSorted()).toEqual(['one.test', 'two.test'])
  await room.member(alice, 'join', { content: { displayname: 'Alice' } })
  const second = await roomOf('one.test')
  await second.member(alice, 'join')
  await settled()
  expect(await told(alice)).toHaveLength(2)
})

test('those who came when the server ended are introduced by its next run, once', async () => {
  const [bob, gone] = [await person(), await person()]
  await stop()
  const room = await roomOf('three.test')
  await room.member(gone, 'join')
  await room.member(gone, 'leave')
  await room.member(bob, 'join')
  expect(await told(bob)).toEqual([])
  story = await story.restart()
  await begin()
  await until(async () => (await told(bob)).length > 0)
  await begin()
  await settled()
  expect(await told(bob)).toEqual(['three.test'])
  expect(await told(gone)).toEqual([])
})

test('a run that ends between the commit of a join and the introduction forgets nobody', async () => {
  const erin = await person()
  await begin()
  await settled()
  const reached = Promise.withResolvers<void>()
  before = async () => {
    reached.resolve()
    throw unavailable('The server is killed')
  }
  const room = await roomOf('four.test')
  await room.member(erin, 'join')
  await story.positions.settled()
  await reached.promise
  await stop()
  before = async () => {}
  expect(await told(erin)).toEqual([])
  await begin()
  await until(async () => (await told(erin)).length > 0)
  expect(await told(erin)).toEqual(['four.test'])
})

test('what fails is tried again, with what came in the meantime', async () => {
  const [frank, grace] = [await person(), await person()]
  await begin()
  await settled()
  before = async () => {
    throw unavailable('The database is away')
  }
  const room = await roomOf('five.test')
  await room.member(frank, 'join')
  await story.positions.settled()
  await until(() => faults.length > 0)
  await room.member(grace, 'join')
  await story.positions.settled()
  before = async () => {}
  await until(async () => (await told(grace)).length > 0 && (await told(frank)).length > 0)
  expect([await told(frank), await told(grace)]).toEqual([['five.test'], ['five.test']])
})

test('rooms of nobody but this server ask nothing of the owner of users', async () => {
  const [henry, ivy] = [await person(), await person()]
  await begin()
  await settled()
  const asked: string[] = []
  before = async (method) => void asked.push(method)
  const room = await story.room(henry)
  await room.member(ivy, 'join')
  await settled()
  expect(asked).toEqual([])
})
