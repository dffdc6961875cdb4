import { describe, expect, test } from 'bun:test'
import type { Answer } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

const password = (userId: string, session?: unknown, secret = 'secret') => ({
  type: 'm.login.password',
  identifier: { type: 'm.id.user', user: userId },
  password: secret,
  ...(session !== undefined && { session }),
})

const outcome = ({ status, body }: Answer) => [status, body.errcode]

/** Another device of a person, to be removed. */
const spare = async (person: Person) => (await home.logIn(person.userId)).deviceId

describe('proving who one is', () => {
  test('is asked for before anything is done, and answered once', async () => {
    const alice = await home.person('alice')
    const deviceId = await spare(alice)
    const first = await alice.client.delete(`/devices/${deviceId}`, {})
    expect(first.status).toBe(401)
    expect(first.body).toEqual({
      flows: [{ stages: ['m.login.password'] }],
      params: {},
      session: expect.any(String),
    })
    const { session } = first.body
    const auth = password(alice.userId, session)
    expect(outcome(await alice.client.delete(`/devices/${deviceId}`, { auth }))).toEqual([
      200,
      undefined,
    ])
    // The session is used up: another request with it begins anew.
    const again = await alice.client.delete(`/devices/${deviceId}`, { auth: { session } })
    expect(outcome(again)).toEqual([401, 'M_FORBIDDEN'])
    expect(again.body.session).not.toBe(session)
  })

  test('never succeeds on nothing, whatever stands for it', async () => {
    const alice = await home.person('alice')
    for (const auth of [undefined, null, {}, { type: null }, { foo: 1 }]) {
      const answer = await alice.client.post('/delete_devices', {
        devices: [alice.deviceId],
        ...(auth !== undefined && { auth }),
      })
      // `auth` that is no object is no authentication at all.
      expect([401, 400]).toContain(answer.status)
    }
    for (const auth of ['x', 1, [], { type: 1 }, { session: {} }]) {
      const answer = await alice.client.post('/delete_devices', { devices: [], auth })
      expect(outcome(answer)).toEqual([400, 'M_BAD_JSON'])
    }
    expect((await alice.client.get('/account/whoami')).status).toBe(200)
  })

  test('needs no session that was not given', async () => {
    const alice = await home.person('alice')
    const auth = password(alice.userId)
    expect((await alice.client.post('/delete_devices', { devices: [], auth })).status).toBe(200)
  })

  test('fails by a wrong password, by that of somebody else, and by a stage that is not asked for', async () => {
    const alice = await home.person('alice')
    const bob = await home.person('bob')
    const { body } = await alice.client.post('/delete_devices', { devices: [] })
    const { session } = body
    const wrong = [
      password(alice.userId, session, 'wrong'),
      { type: 'm.login.password', identifier: { type: 'm.id.phone' }, password: 'secret', session },
    ]
    const texts = new Set<string>()
    for (const auth of wrong) {
      const answer = await alice.client.post('/delete_devices', { devices: [], auth })
      expect(outcome(answer)).toEqual([401, 'M_FORBIDDEN'])
      expect(answer.body).toMatchObject({ session, flows: expect.any(Array) })
      texts.add(answer.body.error)
    }
    expect(texts.size).toBe(1)
    // Another user is none, whether the password is right, wrong, or of nobody.
    const others = [
      password(bob.userId, session),
      password(bob.userId, session, 'wrong'),
      password('@nobody:here.example', session),
    ]
    for (const auth of others)
      expect(await alice.client.post('/delete_devices', { devices: [], auth })).toMatchObject({
        status: 403,
        body: {
          errcode: 'M_FORBIDDEN',
          error: 'Only the user who is logged in can prove that it is them',
        },
      })
    for (const type of [
      'm.login.dummy',
      'm.login.terms',
      'm.login.registration_token',
      'toString',
    ]) {
      const answer = await alice.client.post('/delete_devices', {
        devices: [],
        auth: { type, session },
      })
      expect(outcome(answer)).toEqual([401, 'M_UNAUTHORIZED'])
    }
    // That of another user must not say that it is right; and the session is good still.
    const auth = password(alice.userId, session)
    expect((await alice.client.post('/delete_devices', { devices: [], auth })).status).toBe(200)
  })

  test('is good for one operation, one path, one user', async () => {
    const alice = await home.person('alice')
    const bob = await home.person('bob')
    const deviceId = await spare(alice)
    const begun = await alice.client.delete(`/devices/${deviceId}`, {})
    const { session } = begun.body
    const auth = password(alice.userId, session)
    const swapped = [
      await alice.client.delete(`/devices/${alice.deviceId}`, { auth }),
      await alice.client.post('/delete_devices', { devices: [deviceId], auth }),
      await alice.client.post('/account/password', { new_password: 'n', auth }),
      await bob.client.delete(`/devices/${deviceId}`, { auth: password(bob.userId, session) }),
    ]
    for (const answer of swapped) {
      expect(outcome(answer)).toEqual([401, 'M_FORBIDDEN'])
      expect(answer.body.session).not.toBe(session)
      expect(answer.body.completed).toBeUndefined()
    }
    expect((await alice.client.get(`/devices/${deviceId}`)).status).toBe(200)
    expect((await alice.client.delete(`/devices/${deviceId}`, { auth })).status).toBe(200)
  })

  test('ends with its time, and a session that was made up is none', async () => {
    const alice = await home.person('alice')
    const { session } = (await alice.client.post('/delete_devices', { devices: [] })).body
    home.now += 15 * 60_000
    for (const each of [session, 'made-up', '\0', crypto.randomUUID()]) {
      const auth = password(alice.userId, each)
      const answer = await alice.client.post('/delete_devices', { devices: [], auth })
      expect(outcome(answer)).toEqual([401, 'M_FORBIDDEN'])
    }
  })

  test('lets one of several requests with a session go on', async () => {
    const alice = await home.person('alice')
    const path = '/_matrix/client/v1/login/get_token'
    const begun = await alice.client.post(path)
    const auth = password(alice.userId, begun.body.session)
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => alice.client.post(path, { auth })),
    )
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  test('survives a restart', async () => {
    const alice = await home.person('alice')
    const { session } = (await alice.client.post('/delete_devices', { devices: [] })).body
    const restarted = home.under({}).as(alice.token)
    const auth = password(alice.userId, session)
    expect((await restarted.post('/delete_devices', { devices: [], auth })).status).toBe(200)
  })
})

describe('with a period of grace', () => {
  const config = { sessions: { reauthentication_grace_seconds: 60 } }

  test('devices are removed without a second proof, by the token that proved it', async () => {
    const alice = await home.person('alice')
    const client = home.under(config).as(alice.token)
    const other = home.under(config).as((await home.logIn(alice.userId)).token)
    const remove = async (by = client) =>
      (await by.post('/delete_devices', { devices: [await spare(alice)] })).status
    expect(await remove()).toBe(401)
    const auth = password(alice.userId)
    expect((await client.post('/delete_devices', { devices: [], auth })).status).toBe(200)
    expect(await remove()).toBe(200)
    expect((await client.delete(`/devices/${await spare(alice)}`)).status).toBe(200)
    // The clock runs for each token alone.
    expect(await remove(other)).toBe(401)
    home.now += 60_000
    expect(await remove()).toBe(401)
  })

  test('a login counts as a proof, and one by a token does not', async () => {
    const alice = await home.person('alice')
    const grace = home.under(config)
    const login = { type: 'm.login.password', password: 'secret', user: alice.userId }
    const { body } = await grace.post('/login', login)
    const client = grace.as(body.access_token)
    expect((await client.post('/delete_devices', { devices: [] })).status).toBe(200)
    const path = '/_matrix/client/v1/login/get_token'
    const given = await client.post(path, { auth: password(alice.userId) })
    const byToken = await grace.post('/login', {
      type: 'm.login.token',
      token: given.body.login_token,
    })
    const second = grace.as(byToken.body.access_token)
    expect((await second.post('/delete_devices', { devices: [] })).status).toBe(401)
  })

  test('passwords, addresses, deactivation and login tokens ask always', async () => {
    const alice = await home.person('alice')
    const client = home.under(config).as(alice.token)
    await client.post('/delete_devices', { devices: [], auth: password(alice.userId) })
    expect((await client.post('/delete_devices', { devices: [] })).status).toBe(200)
    const always = [
      await client.post('/account/password', { new_password: 'n' }),
      await client.post('/account/deactivate'),
      await client.post('/_matrix/client/v1/login/get_token'),
    ]
    expect(always.map(({ status }) => status)).toEqual([401, 401, 401])
  })
})
