import { describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { until } from '#test/until.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const algorithm = 'signed_curve25519'

async function withKeys(name: string, oneTime = 0): Promise<[Person, Device]> {
  const person = await home.person(name)
  const device = new Device(person)
  const { status } = await person.client.post('/keys/upload', {
    device_keys: device.keys,
    one_time_keys: device.oneTimeKeys(oneTime),
  })
  expect(status).toBe(200)
  return [person, device]
}

const query = async (by: Person, users: Record<string, string[]>, timeout?: number) =>
  (await by.client.post('/keys/query', { device_keys: users, timeout })).body

const claim = async (by: Person, of: Person) =>
  (
    await by.client.post('/keys/claim', {
      one_time_keys: { [of.userId]: { [of.deviceId]: algorithm } },
    })
  ).body.one_time_keys[of.userId]?.[of.deviceId] as JsonObject | undefined

describe('keys that are uploaded', () => {
  test('are answered to whoever asks, with the name of the device', async () => {
    const [alice, device] = await withKeys('alice')
    const [bob] = await withKeys('bob')
    await home.ctx.users.call('createSession', alice.userId, {
      deviceId: 'PHONE',
      displayName: "Alice's phone",
      tokenHash: crypto.getRandomValues(new Uint8Array(32)),
      createdAt: 1,
    })
    const phone = new Device({ userId: alice.userId, deviceId: 'PHONE' })
    await home.ctx.users.call('uploadKeys', alice.userId, {
      deviceId: 'PHONE',
      deviceKeys: JSON.stringify(phone.keys),
      oneTimeKeys: [],
      fallbackKeys: [],
    })
    const all = await query(bob, { [alice.userId]: [] })
    expect(all.device_keys[alice.userId]).toEqual({
      [alice.deviceId]: device.keys,
      PHONE: { ...phone.keys, unsigned: { device_display_name: "Alice's phone" } },
    })
    expect(all.failures).toEqual({})
    const one = await query(bob, { [alice.userId]: ['PHONE'] })
    expect(Object.keys(one.device_keys[alice.userId])).toEqual(['PHONE'])
    const nobody = await query(bob, { '@nobody:here.example': [] })
    expect(nobody.device_keys).toEqual({ '@nobody:here.example': {} })
  })

  test('are those of the user and the device, whole, and signed by the device', async () => {
    const alice = await home.person('alice')
    const bob = await home.person('bob')
    const [own, others] = [new Device(alice), new Device(bob)]
    const upload = async (device_keys: object) => {
      const { status, body } = await alice.client.post('/keys/upload', { device_keys })
      return [status, body.errcode]
    }
    expect(await upload(others.keys)).toEqual([400, 'M_INVALID_PARAM'])
    expect(await upload({ ...own.keys, device_id: 'OTHER' })).toEqual([400, 'M_INVALID_PARAM'])
    expect(await upload({ user_id: alice.userId, device_id: alice.deviceId })).toEqual([
      400,
      'M_BAD_JSON',
    ])
    const forged = { ...own.keys, signatures: others.key.sign(own.keys)['signatures'] }
    expect(await upload({ ...forged, algorithms: [] })).toEqual([400, 'M_INVALID_SIGNATURE'])
    const foreign = { ...own.keys, signatures: {} }
    expect(await upload(others.key.sign(foreign))).toEqual([400, 'M_INVALID_SIGNATURE'])
    expect(await upload(foreign)).toEqual([200, undefined])
    expect(await upload(own.keys)).toEqual([200, undefined])
  })

  test('cost as many statements for many users and devices as for one', async () => {
    const alice = await home.person('alice')
    const people = await Promise.all(Array.from({ length: 12 }, () => withKeys('many')))
    const userIds = people.map(([{ userId }]) => userId)
    for (const [{ userId }] of people.slice(0, 4))
      for (let n = 0; n < 5; n++) await home.logIn(userId, { deviceId: `MORE${n}` })
    const asked: string[] = []
    const options = db.pool.options as { debug: unknown }
    const statementsOf = async (path: string, body: object) => {
      await home.ctx.tokens.flush()
      asked.length = 0
      options.debug = (_connection: number, text: string) => asked.push(text)
      expect((await alice.client.post(path, body)).status).toBe(200)
      options.debug = false
      return asked.length
    }
    const queryOf = (ids: readonly string[]) => ({
      device_keys: Object.fromEntries(ids.map((id) => [id, []])),
    })
    // Who Alice is has been asked by then.
    await query(alice, {})
    const one = await statementsOf('/keys/query', queryOf(userIds.slice(0, 1)))
    expect(one).toBeGreaterThan(0)
    expect(await statementsOf('/keys/query', queryOf(userIds))).toBe(one)
  })

  test('a second time are no news, and are gone with their device', async () => {
    const [alice, device] = await withKeys('alice', 2)
    const before = await home.story.sync(alice.userId, { deviceId: alice.deviceId })
    await alice.client.post('/keys/upload', { device_keys: device.keys })
    const same = await home.story.sync(alice.userId, { since: before.next_batch })
    expect(same.device_lists).toEqual({ changed: [], left: [] })
    const bob = await home.person('bob')
    await alice.client.post('/logout')
    expect((await query(bob, { [alice.userId]: [] })).device_keys[alice.userId]).toEqual({})
    expect(await claim(bob, alice)).toBeUndefined()
    expect(await db.pool`select from one_time_keys where user_id = ${alice.userId}`).toHaveLength(0)
  })
})

describe('changes of keys', () => {
  test('are told between two tokens of /sync, for whom a room is shared with', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const room = await home.story.room(alice.userId)
    await room.member(bob.userId, 'join')
    const { next_batch: from } = await home.story.sync(alice.userId)
    const changes = async (to: string, since = from) =>
      (await alice.client.get(`/keys/changes?from=${since}&to=${to}`)).body
    await bob.client.post('/keys/upload', { device_keys: new Device(bob).keys })
    const { next_batch: to } = await home.story.sync(alice.userId)
    expect(await changes(to)).toEqual({ changed: [bob.userId], left: [] })
    expect(await changes(to, to)).toEqual({ changed: [], left: [] })
    await room.member(bob.userId, 'leave')
    const { next_batch: last } = await home.story.sync(alice.userId)
    expect(await changes(last)).toEqual({ changed: [], left: [bob.userId] })
    for (const query of ['', `?from=${from}`, `?from=x&to=${to}`, `?from=${from}&to=x`])
      expect((await alice.client.get(`/keys/changes${query}`)).status).toBe(400)
  })
})

describe('one-time keys', () => {
  test('are counted, given out once each in the order of their uploads, and then the fallback', async () => {
    const [alice, device] = await withKeys('alice')
    const bob = await home.person('bob')
    const late = device.oneTimeKeys(1)
    const early = device.oneTimeKeys(1)
    const fallback = device.fallbackKey()
    const counts = async (body: object) =>
      (await alice.client.post('/keys/upload', body)).body.one_time_key_counts
    expect(await counts({ one_time_keys: early })).toEqual({ [algorithm]: 1 })
    expect(await counts({ one_time_keys: late, fallback_keys: fallback })).toEqual({
      [algorithm]: 2,
    })
    const deviceId = alice.deviceId
    const told = await home.story.sync(alice.userId, { deviceId })
    expect(told).toMatchObject({
      device_one_time_keys_count: { [algorithm]: 2 },
      device_unused_fallback_key_types: [algorithm],
    })
    expect([await claim(bob, alice), await claim(bob, alice)]).toEqual([early, late])
    expect([await claim(bob, alice), await claim(bob, alice)]).toEqual([fallback, fallback])
    expect(await home.story.sync(alice.userId, { deviceId })).toMatchObject({
      device_one_time_keys_count: { [algorithm]: 0 },
      device_unused_fallback_key_types: [],
    })
    // A fallback key that was used stays so, unless it is replaced.
    await counts({ fallback_keys: fallback })
    const used = await home.story.sync(alice.userId, { deviceId })
    expect(used.device_unused_fallback_key_types).toEqual([])
    await counts({ fallback_keys: device.fallbackKey() })
    const unused = await home.story.sync(alice.userId, { deviceId })
    expect(unused.device_unused_fallback_key_types).toEqual([algorithm])
  })

  test('are never given out twice, however many ask at once', async () => {
    const [alice] = await withKeys('alice', 20)
    const bob = await home.person('bob')
    const claimed = await Promise.all(Array.from({ length: 30 }, () => claim(bob, alice)))
    const names = claimed.flatMap((keys) => Object.keys(keys ?? {}))
    expect(names).toHaveLength(20)
    expect(new Set(names).size).toBe(20)
  })

  test('that were given out do not come back when an upload is repeated', async () => {
    const [alice, device] = await withKeys('alice')
    const bob = await home.person('bob')
    const keys = device.oneTimeKeys(2)
    await alice.client.post('/keys/upload', { one_time_keys: keys })
    const first = await claim(bob, alice)
    const again = await alice.client.post('/keys/upload', { one_time_keys: keys })
    expect(again.body.one_time_key_counts).toEqual({ [algorithm]: 1 })
    expect(await claim(bob, alice)).not.toEqual(first)
    expect(await claim(bob, alice)).toBeUndefined()
  })

  test('of the same name with another content are refused, and nothing of their upload is kept', async () => {
    const [alice, device] = await withKeys('alice')
    const keys = device.oneTimeKeys(1)
    const [name] = Object.keys(keys)
    await alice.client.post('/keys/upload', { one_time_keys: keys })
    const other = { ...device.oneTimeKeys(1), [name!]: device.key.sign({ key: 'other' }) }
    const { status, body } = await alice.client.post('/keys/upload', { one_time_keys: other })
    expect([status, body.errcode]).toEqual([400, 'M_INVALID_PARAM'])
    const { body: after } = await alice.client.post('/keys/upload', { one_time_keys: keys })
    expect(after.one_time_key_counts).toEqual({ [algorithm]: 1 })
  })

  test('that somebody else signed, or that are none, are refused', async () => {
    const [alice, device] = await withKeys('alice')
    const eve = new Device(alice)
    const upload = async (one_time_keys: object) => {
      const { status, body } = await alice.client.post('/keys/upload', { one_time_keys })
      return [status, body.errcode]
    }
    expect(await upload(eve.oneTimeKeys(1))).toEqual([400, 'M_INVALID_SIGNATURE'])
    for (const bad of [
      { nameless: 'x' },
      { 'curve25519:': 'x' },
      { ':A': 'x' },
      { 'curve25519:A': 7 },
      { 'signed_curve25519:A': { key: 'x' } },
      { 'signed_curve25519:A': { signatures: {} } },
    ])
      expect(await upload(bad)).toEqual([400, 'M_BAD_JSON'])
    expect(await upload({ 'curve25519:A': 'x' })).toEqual([200, undefined])
    expect(await upload({ 'curve25519:B': 'x'.repeat(5000) })).toEqual([400, 'M_INVALID_PARAM'])
    expect(await upload(device.oneTimeKeys(1001))).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('of a device that begins anew are those of its new beginning', async () => {
    const [alice] = await withKeys('alice', 5)
    const reborn = new Device(alice)
    const keys = reborn.oneTimeKeys(2)
    const { body } = await alice.client.post('/keys/upload', {
      device_keys: reborn.keys,
      one_time_keys: keys,
    })
    expect(body.one_time_key_counts).toEqual({ [algorithm]: 2 })
    const bob = await home.person('bob')
    expect(Object.keys((await claim(bob, alice))!)).toEqual([`${algorithm}:0001`])
  })
})

describe('keys of other servers', () => {
  const peer = 'peer.test'
  const carol = `@carol:${peer}`
  const theirs = new Device({ userId: carol, deviceId: 'THEIRS' })

  test('are asked for at each server at once; one that fails is named and fails nothing else', async () => {
    const [alice, device] = await withKeys('alice')
    home.federation.answer = ({ destination, body }) => {
      if (destination !== peer) throw new RemoteError(destination, 0, 'M_UNKNOWN', 'away')
      expect(JSON.parse(body!)).toEqual({ device_keys: { [carol]: [] } })
      const lying = { ...theirs.keys, device_id: 'ELSE' }
      const answer = {
        device_keys: {
          [carol]: { THEIRS: theirs.keys, LYING: lying, BAD: 7 },
          [alice.userId]: { FAKE: theirs.keys },
        },
      }
      return { status: 200, body: JSON.stringify(answer) }
    }
    const answer = await query(alice, {
      [alice.userId]: [],
      [carol]: ['THEIRS'],
      '@x:dead.test': [],
    })
    expect(answer.device_keys).toEqual({
      [alice.userId]: { [alice.deviceId]: device.keys },
      [carol]: { THEIRS: theirs.keys },
    })
    expect(answer.failures).toEqual({ 'dead.test': { errcode: 'M_UNKNOWN', error: 'away' } })
  })

  test('are asked for once by those who ask at once, and ten queries of a device at a time', async () => {
    const alice = await home.person('alice')
    const bob = await home.person('bob')
    const gate = Promise.withResolvers<void>()
    home.federation.requests.length = 0
    home.federation.answer = async ({ body }) => {
      await gate.promise
      const users = Object.keys(JSON.parse(body!).device_keys)
      return {
        status: 200,
        body: JSON.stringify({ device_keys: Object.fromEntries(users.map((user) => [user, {}])) }),
      }
    }
    const asked = () =>
      home.federation.requests.map(({ body }) => Object.keys(JSON.parse(body!).device_keys)[0])
    const first = query(alice, { [carol]: [] })
    await until(() => asked().length === 1)
    const same = [first, query(bob, { [carol]: [] })]
    const many = Array.from({ length: 12 }, (_, n) => query(alice, { [`@u${n}:${peer}`]: [] }))
    await until(() => asked().length === 10)
    await Bun.sleep(30)
    expect(asked()).toHaveLength(10)
    expect(asked().filter((user) => user === carol)).toHaveLength(1)
    gate.resolve()
    await Promise.all([...same, ...many])
    expect(asked()).toHaveLength(13)
  })

  test('are claimed from their servers, which give what they were asked for', async () => {
    const [alice] = await withKeys('alice', 1)
    const key = theirs.oneTimeKeys(1)
    home.federation.answer = ({ destination, uri, body }) => {
      if (destination !== peer) throw new RemoteError(destination, 0, 'M_UNKNOWN', 'away')
      expect(uri).toBe('/_matrix/federation/v1/user/keys/claim')
      expect(JSON.parse(body!)).toEqual({ one_time_keys: { [carol]: { THEIRS: algorithm } } })
      const answer = { [carol]: { THEIRS: { ...key, 'other:A': 'x' }, MORE: key } }
      return { status: 200, body: JSON.stringify({ one_time_keys: answer }) }
    }
    const { status, body } = await alice.client.post('/keys/claim', {
      one_time_keys: {
        [carol]: { THEIRS: algorithm },
        [alice.userId]: { [alice.deviceId]: algorithm },
        '@x:dead.test': { D: algorithm },
      },
    })
    expect(status).toBe(200)
    expect(body.one_time_keys[carol]).toEqual({ THEIRS: key })
    expect(Object.keys(body.one_time_keys)).toContain(alice.userId)
    expect(body.failures).toEqual({ 'dead.test': { errcode: 'M_UNKNOWN', error: 'away' } })
  })

  test('of malformed names are nobody’s', async () => {
    const alice = await home.person('alice')
    const answer = await query(alice, { '@': [], x: [], '@a:b c': [] })
    expect(answer.device_keys).toEqual({})
    const bad = await alice.client.post('/keys/query', { device_keys: { [carol]: { D: true } } })
    expect([bad.status, bad.body.errcode]).toEqual([400, 'M_BAD_JSON'])
  })
})
