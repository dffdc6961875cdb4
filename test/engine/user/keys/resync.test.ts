import { afterAll, beforeAll, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { RemoteKeys } from '#engine/user/keys/remote-keys.ts'
import { Resync } from '#engine/user/keys/resync.ts'
import { UserShards } from '#engine/user/owner.ts'
import { MadeUpFederation } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { Story } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const sql = db.pool
const carol = '@carol:peer.test'
const device = new Device({ userId: carol, deviceId: 'C' })
const serverName = 'here.example'
const federation = new MadeUpFederation()
const users = new UserShards(sql, { onCommit: () => {} })
let now = 1_700_000_000_000
const faults: unknown[] = []
const onFault = (error: unknown) => void faults.push(error)
const clock = () => now
let story: Story
let resync: Resync

const newResync = () => new Resync({ sql, serverName, clock, users, federation, onFault })
const remote = new RemoteKeys({ sql, serverName, users, federation, onFault })

const standing = async () =>
  (
    await sql`
      select stale, cached, stream_id, failures, retry_at from remote_device_lists
      where user_id = ${carol}`
  )[0]!
const update = (streamId: number, prevIds: number[]) =>
  users.call('updateRemoteDevice', carol, {
    deviceId: 'C',
    streamId,
    prevIds,
    deleted: false,
    keyed: true,
    content: JSON.stringify({ keys: device.keys }),
  })
const answerWith = (streamId: number) => {
  federation.answer = ({ uri }) => ({
    status: 200,
    body: JSON.stringify(
      uri.endsWith('/user/keys/query')
        ? { device_keys: { [carol]: { C: device.keys } } }
        : {
            user_id: carol,
            stream_id: streamId,
            devices: [{ device_id: 'C', keys: device.keys }],
          },
    ),
  })
}
const away = () => {
  federation.answer = ({ destination }) => {
    throw new RemoteError(destination, 0, 'laneway.unreachable', 'away')
  }
}

beforeAll(async () => {
  story = await Story.begin(sql)
  const room = await story.room('@alice:here.example')
  await room.member(carol, 'join')
  resync = newResync()
})
afterAll(async () => {
  await resync.stop()
  await users.close()
})

test('a list that is stale is fetched, and again after growing pauses while its server is away', async () => {
  answerWith(5)
  await remote.of([carol], 5000)
  expect(await standing()).toMatchObject({ cached: true, stale: false, stream_id: null })
  away()
  await update(8, [7])
  expect(await standing()).toMatchObject({ stale: true })
  let last = 0
  for (let tries = 1; tries <= 4; tries++) {
    resync.wake()
    await until(async () => (await standing())['failures'] === tries)
    const { retry_at: retryAt } = await standing()
    expect((retryAt as number) - now).toBeGreaterThan(last / 2)
    last = (retryAt as number) - now
    // Nobody is asked before the time.
    const asked = federation.requests.length
    resync.wake()
    await Bun.sleep(20)
    expect(federation.requests).toHaveLength(asked)
    now = retryAt as number
  }
  // What is known goes on being answered, beside the failure.
  const stale = await remote.of([carol], 5000)
  expect([...stale.users.get(carol)!.devices.keys()]).toEqual(['C'])
  expect([...stale.failures.keys()]).toEqual(['peer.test'])

  // A day later, in another process.
  await resync.stop()
  now += 24 * 3600_000
  answerWith(8)
  resync = newResync()
  resync.wake()
  await until(async () => (await standing())['stale'] === false)
  expect(await standing()).toMatchObject({ stream_id: 8, failures: 0, cached: true })
  await update(9, [8])
  expect(await standing()).toMatchObject({ stale: false, stream_id: 9 })
  const asked = federation.requests.length
  expect((await remote.of([carol], 5000)).failures.size).toBe(0)
  expect(federation.requests).toHaveLength(asked)
  expect(faults).toEqual([])
})

test('a list that changes while it is fetched is fetched again', async () => {
  await update(20, [19])
  let asked = 0
  federation.answer = async () => {
    if (asked++ === 0) await update(21, [20])
    const devices = [{ device_id: 'C', keys: device.keys }]
    return {
      status: 200,
      body: JSON.stringify({ user_id: carol, stream_id: 20 + asked, devices }),
    }
  }
  resync.wake()
  await until(async () => (await standing())['stale'] === false)
  expect(asked).toBe(2)
  expect(await standing()).toMatchObject({ stream_id: 22 })
})

test('a list is given up when its user is gone, or no room is shared', async () => {
  await update(30, [29])
  federation.answer = () => ({ status: 404, body: '{"errcode":"M_NOT_FOUND","error":"gone"}' })
  resync.wake()
  await until(async () => (await standing())['stale'] === false)
  expect(await standing()).toMatchObject({ cached: false })
  expect(await sql`select from remote_devices where user_id = ${carol}`).toHaveLength(0)
})
