import { beforeAll, describe, expect, test } from 'bun:test'
import { UserShards } from '#engine/user/owner.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { Story } from '#test/engine/read/story.ts'

const db = await testDatabase()
let story: Story
let users: UserShards
beforeAll(async () => {
  story = await Story.begin(db.pool)
  users = new UserShards(db.pool, { onCommit: (pairs) => story.positions.advanceUsers(pairs) })
})

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`
const stranger = (name: string) => `@${name}${++count}:elsewhere.test`

/** A local user's device, and with it a change of their list. */
async function device(userId: string): Promise<void> {
  const deviceId = `D${++count}`
  await users.call('createSession', userId, {
    deviceId,
    tokenHash: crypto.getRandomValues(new Uint8Array(32)),
    createdAt: 1,
  })
  await users.call('uploadKeys', userId, {
    deviceId,
    deviceKeys: JSON.stringify(new Device({ userId, deviceId }).keys),
    oneTimeKeys: [],
    fallbackKeys: [],
  })
}

const remoteUpdate = (userId: string) =>
  users.call('updateRemoteDevice', userId, {
    deviceId: 'X',
    streamId: ++count,
    prevIds: [],
    deleted: false,
    keyed: true,
    content: '{}',
  })

/** What one user is told since a token. */
const listsOf = async (userId: string, since: string, timeoutMs = 0) => {
  const { device_lists: lists } = await story.sync(userId, { since, timeoutMs })
  return { changed: lists!.changed.toSorted(), left: lists!.left.toSorted() }
}
const token = async (userId: string) => (await story.sync(userId)).next_batch

describe('device lists', () => {
  test('are news to their user and to those who share a room, and to nobody else', async () => {
    const [alice, bob, eve] = [someone('alice'), someone('bob'), someone('eve')]
    const carol = stranger('carol')
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.member(carol, 'join')
    await story.room(eve)
    const tokens = await Promise.all([alice, bob, eve].map(token))
    await device(alice)
    await remoteUpdate(carol)
    await remoteUpdate(stranger('nobody'))
    const told = await Promise.all([alice, bob, eve].map((each, n) => listsOf(each, tokens[n]!)))
    const changed = [alice, carol].toSorted()
    expect(told).toEqual([
      { changed, left: [] },
      { changed, left: [] },
      { changed: [], left: [] },
    ])
    const after = await token(bob)
    expect(await listsOf(bob, after)).toEqual({ changed: [], left: [] })
  })

  test('are told on incremental syncs only', async () => {
    const alice = someone('alice')
    expect((await story.sync(alice)).device_lists).toBeUndefined()
  })

  test('wake those who share a room, also for users of other servers', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), stranger('carol')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.member(carol, 'join')
    for (const change of [() => device(bob), () => remoteUpdate(carol), () => device(alice)]) {
      const since = await token(alice)
      const waiting = listsOf(alice, since, 60_000)
      await change()
      expect((await waiting).changed).toHaveLength(1)
    }
  })

  test('of all members are news to who joins, and theirs to the members', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), stranger('carol')]
    const room = await story.room(alice)
    await room.member(carol, 'join')
    const [before, own] = [await token(alice), await token(bob)]
    await room.member(bob, 'join')
    expect(await listsOf(bob, own)).toEqual({ changed: [alice, bob, carol].toSorted(), left: [] })
    expect(await listsOf(alice, before)).toEqual({ changed: [bob], left: [] })
    // A new name is no new membership.
    const next = await token(alice)
    await room.member(bob, 'join', { content: { displayname: 'B' } })
    expect(await listsOf(alice, next)).toEqual({ changed: [], left: [] })
  })

  test('are left with the last room that is shared, and are no news from then on', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), stranger('carol')]
    const [one, two] = [await story.room(alice), await story.room(alice)]
    for (const who of [bob, carol]) await one.member(who, 'join')
    await two.member(bob, 'join')
    const start = await token(alice)
    await one.member(bob, 'leave')
    await one.member(carol, 'leave')
    expect(await listsOf(alice, start)).toEqual({ changed: [], left: [carol] })
    const next = await token(alice)
    await two.member(bob, 'leave')
    await device(bob)
    expect(await listsOf(alice, next)).toEqual({ changed: [], left: [bob] })
    const last = await token(alice)
    await device(bob)
    expect(await listsOf(alice, last)).toEqual({ changed: [], left: [] })
  })

  test('of all members are left by who leaves, whatever rooms the filter shows', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), someone('carol')]
    const [one, two] = [await story.room(alice), await story.room(alice)]
    for (const who of [bob, carol]) await one.member(who, 'join')
    await two.member(carol, 'join')
    const since = await token(alice)
    await one.member(alice, 'leave')
    const { device_lists: lists } = await story.sync(alice, {
      since,
      filter: { room: { rooms: [] } },
    })
    expect(lists).toEqual({ changed: [], left: [bob] })
  })

  test('of who joined and left in between, or left and came back, end as they are now', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), stranger('carol')]
    const room = await story.room(alice)
    await room.member(carol, 'join')
    const since = await token(alice)
    await room.member(bob, 'join')
    await room.member(bob, 'leave')
    await room.member(carol, 'leave')
    await room.member(carol, 'join')
    expect(await listsOf(alice, since)).toEqual({ changed: [carol], left: [bob] })
  })
})
