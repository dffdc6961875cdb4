import { describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { CrossSigning, Device } from '#test/device.ts'
import { until } from '#test/until.ts'
import { type Person, twoHomes, type WholeServer } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const enc = encodeURIComponent
const device = new Device({ userId: alice.userId, deviceId: 'D' })
const roomId = (await alice.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
await bob.do('POST', `join/${enc(roomId)}?via=here.test`, {})
await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')

const token = async (who: Person) => (await who.do('GET', 'sync?timeout=0')).next_batch as string

/** Syncs until something is so; answers the last token. */
async function syncUntil(
  who: Person,
  since: string,
  isSo: (answer: any) => boolean,
): Promise<string> {
  let next = since
  await until(async () => {
    const answer = await who.do('GET', `sync?timeout=500&since=${next}`)
    next = answer.next_batch
    return isSo(answer)
  })
  return next
}
const changed = (of: Person) => (answer: any) =>
  answer.device_lists?.changed.includes(of.userId) === true

const keysOf = async (of: Person, by: Person) =>
  by.do('POST', 'keys/query', { device_keys: { [of.userId]: [] }, timeout: 20_000 })
const send = (by: Person, to: Person, n: number, deviceId = 'D') =>
  by.do('PUT', `sendToDevice/m.test/${crypto.randomUUID()}`, {
    messages: { [to.userId]: { [deviceId]: { n } } },
  })
const databaseOf = (home: WholeServer) => home.context.sql
const standing = async () =>
  (
    await databaseOf(there)`
      select stream_id, stale, cached from remote_device_lists where user_id = ${alice.userId}`
  )[0]

describe('between two servers', () => {
  test('keys are uploaded here, told there, and kept while a room is shared', async () => {
    const since = await token(bob)
    await alice.do('POST', 'keys/upload', {
      device_keys: device.keys,
      one_time_keys: device.oneTimeKeys(2),
    })
    await syncUntil(bob, since, changed(alice))
    const { device_keys: first, failures } = await keysOf(alice, bob)
    expect([first[alice.userId], failures]).toEqual([{ D: device.keys }, {}])
    expect(await standing()).toMatchObject({ cached: true, stale: false })
    // From now on nobody need be asked.
    await here.stop()
    const again = await keysOf(alice, bob)
    expect([again.device_keys[alice.userId], again.failures]).toEqual([{ D: device.keys }, {}])
    await here.start()
  })

  test('signatures of devices and signing keys arrive, and make nothing stale but once', async () => {
    let since = await token(bob)
    const keys = new CrossSigning(alice.userId)
    await alice.do('POST', 'keys/device_signing/upload', keys.body)
    since = await syncUntil(bob, since, changed(alice))
    const signed = keys.selfSigning.sign(device.keys)
    const { failures } = await alice.do('POST', 'keys/signatures/upload', {
      [alice.userId]: { D: signed },
    })
    expect(failures).toEqual({})
    await syncUntil(bob, since, changed(alice))
    await until(async () => {
      const answer = await keysOf(alice, bob)
      const ofDevice = answer.device_keys[alice.userId].D as JsonObject
      return (
        Bun.deepEquals(ofDevice, signed) &&
        Bun.deepEquals(answer.master_keys[alice.userId], keys.body['master_key']) &&
        Bun.deepEquals(answer.self_signing_keys[alice.userId], keys.body['self_signing_key'])
      )
    })
    expect((await keysOf(alice, bob)).user_signing_keys).toEqual({})
  })

  test('who joins a room with another server is introduced to it', async () => {
    const carol = await there.person('carol')
    const { keys } = new Device({ userId: carol.userId, deviceId: 'D' })
    await carol.do('POST', 'keys/upload', { device_keys: keys })
    const { room_id: roomId } = await alice.do('POST', 'createRoom', { preset: 'public_chat' })
    await carol.do('POST', `join/${enc(roomId)}?via=here.test`, {})
    const known = () =>
      databaseOf(here)`select from remote_device_lists where user_id = ${carol.userId}`
    await until(async () => (await known()).length === 1)
    await carol.do('POST', `rooms/${enc(roomId)}/leave`, {})
  })

  test('a list of which an update was lost is fetched', async () => {
    // The list is followed by number from here on.
    await until(async () => {
      const row = await standing()
      return row!['stale'] === false && row!['stream_id'] !== null
    })
    const name = async (text: string) => {
      const { users } = here.context
      await users.call('createSession', alice.userId, {
        deviceId: text,
        tokenHash: crypto.getRandomValues(new Uint8Array(32)),
        createdAt: 1,
      })
      const own = new Device({ userId: alice.userId, deviceId: text })
      await users.call('uploadKeys', alice.userId, {
        deviceId: text,
        deviceKeys: JSON.stringify(own.keys),
        oneTimeKeys: [],
        fallbackKeys: [],
      })
    }
    await there.stop()
    await name('LOST')
    await databaseOf(here)`delete from outbox_edus`
    await databaseOf(here)`delete from outbox_txns`
    await there.start()
    const since = await token(bob)
    await name('SEEN')
    await syncUntil(bob, since, changed(alice))
    await until(async () => {
      const { device_keys: found } = await keysOf(alice, bob)
      return ['D', 'LOST', 'SEEN'].every((id) => id in found[alice.userId])
    })
    await until(async () => {
      const row = await standing()
      return row!['stale'] === false && row!['stream_id'] !== null
    })
  })

  test('messages to devices wait for a server that is away, and come once', async () => {
    const since = await token(bob)
    await send(alice, bob, 1)
    await there.stop()
    await send(alice, bob, 2)
    // Who sends may end, too.
    await here.stop()
    await here.start()
    await send(alice, bob, 3, '*')
    await there.start()
    const got: number[] = []
    await syncUntil(bob, since, (answer) => {
      for (const { content } of answer.to_device?.events ?? []) got.push(content.n as number)
      return got.length >= 3
    })
    expect(got).toEqual([1, 2, 3])
  })

  test('one-time keys are claimed there once', async () => {
    const claim = async () => {
      const { one_time_keys: keys, failures } = await bob.do('POST', 'keys/claim', {
        one_time_keys: { [alice.userId]: { D: 'signed_curve25519' } },
      })
      expect(failures).toEqual({})
      return Object.keys(keys[alice.userId]?.D ?? {})
    }
    const names = (await Promise.all([claim(), claim(), claim()])).flat()
    expect(names.toSorted()).toEqual(['signed_curve25519:0001', 'signed_curve25519:0002'])
  })

  test('a list is nobody’s when no room is shared, and asked for each time', async () => {
    const since = await token(bob)
    const { joined_rooms: rooms } = await bob.do('GET', 'joined_rooms')
    for (const roomId of rooms) await bob.do('POST', `rooms/${enc(roomId)}/leave`, {})
    await syncUntil(bob, since, (answer) => answer.device_lists?.left.includes(alice.userId))
    const { device_keys: found, failures } = await keysOf(alice, bob)
    expect([Object.keys(found[alice.userId]).toSorted(), failures]).toEqual([
      ['D', 'LOST', 'SEEN'],
      {},
    ])
    await here.stop()
    const away = await keysOf(alice, bob)
    expect(Object.keys(away.failures)).toEqual(['here.test'])
    await here.start()
  })
})
