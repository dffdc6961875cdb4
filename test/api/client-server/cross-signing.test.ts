import { describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { testDatabase } from '#test/database.ts'
import { CrossSigning, Device, UserKey } from '#test/device.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

const upload = (by: Person, body: object) => by.client.post('/keys/device_signing/upload', body)
const sign = (by: Person, body: object) => by.client.post('/keys/signatures/upload', body)
const query = async (by: Person, ...of: string[]) =>
  (
    await by.client.post('/keys/query', {
      device_keys: Object.fromEntries(of.map((userId) => [userId, []])),
    })
  ).body
const password = ({ userId }: { userId: string }) => ({
  type: 'm.login.password',
  identifier: { type: 'm.id.user', user: userId },
  password: 'secret',
})

async function withKeys(name: string): Promise<[Person, Device, CrossSigning]> {
  const person = await home.person(name)
  const device = new Device(person)
  await person.client.post('/keys/upload', { device_keys: device.keys })
  const keys = new CrossSigning(person.userId)
  expect((await upload(person, keys.body)).status).toBe(200)
  return [person, device, keys]
}

/** A key without the signatures that it has. */
const bare = (key: JsonObject): JsonObject => ({ ...key, signatures: {} })
const signaturesOf = (key: JsonObject, userId: string) =>
  Object.keys((key['signatures'] as JsonObject)[userId] as JsonObject)

describe('signing keys', () => {
  test('are answered to whoever asks, the user-signing key to its user alone', async () => {
    const [alice, , keys] = await withKeys('alice')
    const bob = await home.person('bob')
    const { master_key, self_signing_key, user_signing_key } = keys.body
    const { userId } = alice
    expect(await query(bob, userId)).toMatchObject({
      master_keys: { [userId]: master_key },
      self_signing_keys: { [userId]: self_signing_key },
      user_signing_keys: {},
    })
    expect((await query(alice, userId)).user_signing_keys).toEqual({ [userId]: user_signing_key })
  })

  test('are free at first, and again when they are the same; others need the password', async () => {
    const [alice, , keys] = await withKeys('alice')
    expect((await upload(alice, keys.body)).status).toBe(200)
    const next = new CrossSigning(alice.userId)
    const asked = await upload(alice, next.body)
    expect(asked.status).toBe(401)
    expect(asked.body.flows).toEqual([{ stages: ['m.login.password'] }])
    const bob = await home.person('bob')
    const { session } = asked.body
    const wrong: [number, object][] = [
      [401, { ...password(alice), password: 'wrong' }],
      [403, password(bob)],
      [401, { type: 'm.login.dummy' }],
      [401, {}],
    ]
    for (const [status, auth] of wrong) {
      const answer = await upload(alice, { ...next.body, auth: { ...auth, session } })
      expect(answer.status).toBe(status)
    }
    const { userId } = alice
    expect((await query(alice, userId)).master_keys[userId]).toEqual(keys.body['master_key'])
    const good = await upload(alice, { ...next.body, auth: { ...password(alice), session } })
    expect([good.status, good.body]).toEqual([200, {}])
    expect((await query(alice, userId)).master_keys[userId]).toEqual(next.body['master_key'])
  })

  test('that are malformed, or not signed by the master key, are refused', async () => {
    const [alice, eve] = [await home.person('alice'), await home.person('eve')]
    const keys = new CrossSigning(alice.userId)
    const others = new CrossSigning(eve.userId)
    const { body } = keys
    const errcode = async (request: object) => {
      const answer = await upload(alice, request)
      return [answer.status, answer.body.errcode]
    }
    expect(await errcode({ self_signing_key: body['self_signing_key'] })).toEqual([
      400,
      'M_MISSING_PARAM',
    ])
    expect(await errcode(others.body)).toEqual([400, 'M_INVALID_PARAM'])
    const stranger = new UserKey(alice.userId)
    const forged = stranger.sign(keys.selfSigning.crossSigning('self_signing'))
    expect(await errcode({ ...body, self_signing_key: forged })).toEqual([
      400,
      'M_INVALID_SIGNATURE',
    ])
    const master = keys.master.crossSigning('master')
    for (const bad of [
      { ...master, usage: ['self_signing'] },
      { ...master, keys: {} },
      { ...master, keys: { 'ed25519:A': 'B' } },
      { ...master, keys: { 'ed25519:A': 'A' } },
      { ...master, keys: { ...(master['keys'] as object), 'ed25519:A': 'A' } },
    ])
      expect(await errcode({ master_key: bad })).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('and devices never have one name', async () => {
    const alice = await home.person('alice')
    const keys = new CrossSigning(alice.userId)
    const clash = await home.logIn(alice.userId, { deviceId: keys.selfSigning.publicKey })
    const answer = await upload(alice, keys.body)
    expect([answer.status, answer.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    await clash.client.post('/logout')
    expect((await upload(alice, keys.body)).status).toBe(200)
    for (const { publicKey: device_id } of [keys.master, keys.userSigning]) {
      const again = await home.client.post('/login', { ...password(alice), device_id })
      expect([again.status, again.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    }
  })

  test('that are replaced take along what they signed', async () => {
    const [alice, device, keys] = await withKeys('alice')
    const { userId, deviceId } = alice
    await sign(alice, { [userId]: { [deviceId]: keys.selfSigning.sign(device.keys) } })
    const signed = (await query(alice, userId)).device_keys[userId][deviceId]
    expect(signaturesOf(signed, userId)).toHaveLength(2)
    const next = new CrossSigning(userId)
    const { master_key } = next.body
    expect((await upload(alice, { master_key, auth: password(alice) })).status).toBe(200)
    const after = await query(alice, userId)
    expect(after.device_keys[userId][deviceId]).toEqual(device.keys)
    expect(after.self_signing_keys).toEqual({})
    expect(after.user_signing_keys).toEqual({})
  })

  test('and signatures are news to those who share a room', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const room = await home.story.room(alice.userId)
    await room.member(bob.userId, 'join')
    const { next_batch: since } = await home.story.sync(bob.userId)
    await upload(alice, new CrossSigning(alice.userId).body)
    const { device_lists: lists } = await home.story.sync(bob.userId, { since })
    expect(lists!.changed).toEqual([alice.userId])
  })
})

describe('signatures', () => {
  test('of a device by the self-signing key are shown to everybody', async () => {
    const [alice, device, keys] = await withKeys('alice')
    const bob = await home.person('bob')
    const { userId, deviceId } = alice
    const { body } = await sign(alice, {
      [userId]: { [deviceId]: keys.selfSigning.sign(bare(device.keys)) },
    })
    expect(body).toEqual({ failures: {} })
    const shown = (await query(bob, userId)).device_keys[userId][deviceId]
    expect(shown).toEqual(keys.selfSigning.sign(device.keys))
  })

  test('of the master key by a device are shown to everybody', async () => {
    const [alice, device, keys] = await withKeys('alice')
    const bob = await home.person('bob')
    const { userId } = alice
    const master = keys.body['master_key'] as JsonObject
    const signed = device.key.sign(master)
    const { body } = await sign(alice, { [userId]: { [keys.master.publicKey]: signed } })
    expect(body).toEqual({ failures: {} })
    expect((await query(bob, userId)).master_keys[userId]).toEqual(signed)
  })

  test("of somebody else's master key are shown to the signer alone, on all of their devices", async () => {
    const [alice, , keys] = await withKeys('alice')
    const [bob, , theirs] = await withKeys('bob')
    const master = theirs.body['master_key'] as JsonObject
    const signed = keys.userSigning.sign(bare(master))
    const { next_batch: since } = await home.story.sync(alice.userId)
    const room = await home.story.room(alice.userId)
    await room.member(bob.userId, 'join')
    const waiting = home.story.sync(alice.userId, {
      since: (await home.story.sync(alice.userId, { since })).next_batch,
      timeoutMs: 60_000,
    })
    const { body } = await sign(alice, { [bob.userId]: { [theirs.master.publicKey]: signed } })
    expect(body).toEqual({ failures: {} })
    expect((await waiting).device_lists!.changed).toEqual([bob.userId])
    const own = (await query(alice, bob.userId)).master_keys[bob.userId]
    expect(own).toEqual(keys.userSigning.sign(master))
    for (const other of [bob, await home.person('carol')])
      expect((await query(other, bob.userId)).master_keys[bob.userId]).toEqual(master)
  })

  test('that are wrong, or over what is not known, are named and stop nothing', async () => {
    const [alice, device, keys] = await withKeys('alice')
    const [bob, theirDevice, theirs] = await withKeys('bob')
    const { userId, deviceId } = alice
    const changed = { ...bare(device.keys), algorithms: ['m.other'] }
    const good = device.key.sign(bare(keys.body['master_key'] as JsonObject))
    const wrong = await sign(alice, {
      [userId]: {
        [deviceId]: keys.selfSigning.sign(changed),
        NOSUCH: keys.selfSigning.sign(bare(device.keys)),
        [keys.master.publicKey]: good,
      },
      [bob.userId]: {
        // Devices of others are not ours to sign, and the self-signing key signs no master key.
        [bob.deviceId]: keys.userSigning.sign(bare(theirDevice.keys)),
        [theirs.master.publicKey]: keys.selfSigning.sign(
          bare(theirs.body['master_key'] as JsonObject),
        ),
      },
    })
    expect(wrong.status).toBe(200)
    const codes = (of: string) =>
      Object.fromEntries(
        Object.entries(wrong.body.failures[of] as Record<string, { errcode: string }>).map(
          ([key, { errcode }]) => [key, errcode],
        ),
      )
    expect(codes(userId)).toEqual({ [deviceId]: 'M_INVALID_SIGNATURE', NOSUCH: 'M_NOT_FOUND' })
    expect(codes(bob.userId)).toEqual({
      [bob.deviceId]: 'M_NOT_FOUND',
      [theirs.master.publicKey]: 'M_INVALID_SIGNATURE',
    })
    const forged = theirs.selfSigning.sign(bare(device.keys))
    const inName = { ...forged, signatures: { [userId]: { ['ed25519:X']: 'AAAA' } } }
    for (const body of [forged, inName, bare(device.keys)])
      expect((await sign(alice, { [userId]: { [deviceId]: body } })).body.failures).toEqual({
        [userId]: { [deviceId]: { errcode: 'M_INVALID_SIGNATURE', error: expect.any(String) } },
      })
    expect((await query(bob, userId)).master_keys[userId]).toEqual(
      device.key.sign(keys.body['master_key'] as JsonObject),
    )
  })
})
