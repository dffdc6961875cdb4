import { describe, expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { UserShards } from '#engine/user/owner.ts'
import { testDatabase } from '#test/database.ts'

const db = await testDatabase()
const sql = db.pool

let count = 0
/** A user that no other test knows. */
const user = () => `@u${++count}:elsewhere.test`
const owner = () => new UserShards(sql, { onCommit: () => {} })

const errcode = async (promise: Promise<unknown>): Promise<string> => {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error instanceof MatrixError ? error.errcode : String(error)
}

describe("device lists of other servers' users", () => {
  const update = (streamId: number, prevIds: number[], deviceId = 'A', deleted = false) => ({
    deviceId,
    streamId,
    prevIds,
    deleted,
    keyed: true,
    content: `{"n":${streamId}}`,
  })
  const list = async (userId: string) =>
    (
      await sql`
        select stream_id, stale, cached, position from remote_device_lists
        where user_id = ${userId}`
    )[0]
  const devices = (userId: string) =>
    sql`select device_id, content from remote_devices where user_id = ${userId} order by device_id`
  const anchor = { shard: 0, roomNid: 64, generation: 0, position: 1 }
  const keep = async (users: UserShards, userId: string, streamId: number | null, askedAt = 0) =>
    users.call('keepRemoteList', userId, {
      devices: [['A', '{"n":0}']],
      keys: [],
      streamId,
      anchor,
      askedAt,
      announce: false,
    })

  test('that are kept are followed update by update, and a replay changes nothing', async () => {
    const users = owner()
    const userId = user()
    await keep(users, userId, 5)
    expect(await list(userId)).toMatchObject({ stream_id: 5, position: 0, cached: true })
    await Promise.all([
      users.call('updateRemoteDevice', userId, update(6, [5], 'B')),
      users.call('updateRemoteDevice', userId, update(9, [6])),
    ])
    const before = await list(userId)
    expect(before).toMatchObject({ stream_id: 9, stale: false })
    await users.call('updateRemoteDevice', userId, update(9, [6]))
    expect(await list(userId)).toEqual(before!)
    expect([...(await devices(userId))]).toEqual([
      { device_id: 'A', content: '{"n":9}' },
      { device_id: 'B', content: '{"n":6}' },
    ])
    await users.call('updateRemoteDevice', userId, update(10, [9], 'A', true))
    expect(await devices(userId)).toHaveLength(1)
  })

  test('that are kept are stale when an update was missed, or says not what it follows', async () => {
    const users = owner()
    for (const next of [update(8, [7]), update(6, [])]) {
      const userId = user()
      await keep(users, userId, 5)
      await users.call('updateRemoteDevice', userId, next)
      expect(await list(userId)).toMatchObject({ stream_id: next.streamId, stale: true })
      expect([...(await devices(userId))]).toEqual([{ device_id: 'A', content: '{"n":0}' }])
    }
    // The list came without a number: nobody knows what follows it.
    const unknown = user()
    await keep(users, unknown, null)
    await users.call('updateRemoteDevice', unknown, update(1, []))
    expect(await list(unknown)).toMatchObject({ stale: true })
  })

  test('that are not kept only change', async () => {
    const users = owner()
    const userId = user()
    await users.call('updateRemoteDevice', userId, update(8, [7]))
    const { position } = (await list(userId))!
    await users.call('updateRemoteDevice', userId, update(9, [8]))
    expect(await list(userId)).toMatchObject({ stream_id: 9, stale: false, cached: false })
    expect((await list(userId))!['position']).toBeGreaterThan(position as number)
    expect(await devices(userId)).toHaveLength(0)
  })

  test('that are not kept do not change by a device without keys, but by its end', async () => {
    const users = owner()
    const userId = user()
    await users.call('updateRemoteDevice', userId, { ...update(1, []), keyed: false })
    expect(await list(userId)).toBeUndefined()
    const { position } = await users.call('updateRemoteDevice', userId, update(2, [1]))
    await users.call('updateRemoteDevice', userId, { ...update(3, [2]), keyed: false })
    expect(await list(userId)).toMatchObject({ stream_id: 2, position })
    const gone = { ...update(4, [3], 'A', true), keyed: false }
    await users.call('updateRemoteDevice', userId, gone)
    expect((await list(userId))!['position']).toBeGreaterThan(position)
    // Of a list that is kept everything is followed.
    const kept = user()
    await keep(users, kept, 5)
    await users.call('updateRemoteDevice', kept, { ...update(6, [5], 'B'), keyed: false })
    expect(await list(kept)).toMatchObject({ stream_id: 6, stale: false })
  })

  test('that changed while they were asked for are not kept', async () => {
    const users = owner()
    const userId = user()
    const { position } = await users.call('updateRemoteDevice', userId, update(8, [7]))
    expect(await errcode(keep(users, userId, 7))).toBe('M_UNKNOWN')
    expect(await list(userId)).toMatchObject({ cached: false })
    await keep(users, userId, 8, position)
    expect(await list(userId)).toMatchObject({ cached: true, position })
  })

  test('are stale when the master key is another one', async () => {
    const users = owner()
    const userId = user()
    const key = (publicKey: string) => ({ usage: 'master' as const, publicKey, json: publicKey })
    await keep(users, userId, 5)
    await users.call('updateRemoteKeys', userId, [key('"a"')])
    const before = await list(userId)
    expect(before).toMatchObject({ stale: false })
    await users.call('updateRemoteKeys', userId, [key('"a"')])
    expect(await list(userId)).toEqual(before!)
    await users.call('updateRemoteKeys', userId, [key('"b"')])
    expect(await list(userId)).toMatchObject({ stale: true, stream_id: 5 })
  })
})
