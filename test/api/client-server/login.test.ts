import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const localpart = alice.userId.slice(1, alice.userId.indexOf(':'))

const logIn = (body: object) => home.client.post('/login', body)
const byPassword = (user: string, password = 'secret', more: object = {}) =>
  logIn({
    type: 'm.login.password',
    identifier: { type: 'm.id.user', user },
    password,
    ...more,
  })
const whoami = (token: string) => home.client.as(token).get('/account/whoami')

describe('logging in', () => {
  test('is offered by password, and by a token that another device gave', async () => {
    const { body } = await home.client.get('/login')
    expect(body).toEqual({
      flows: [{ type: 'm.login.password' }, { type: 'm.login.token', get_login_token: true }],
    })
  })

  test('takes a whole user ID, a name in any case, and the old form', async () => {
    const bodies = [
      byPassword(alice.userId),
      byPassword(localpart.toUpperCase()),
      logIn({ type: 'm.login.password', user: localpart, password: 'secret' }),
    ]
    for (const { status, body } of await Promise.all(bodies)) {
      expect(status).toBe(200)
      expect(body.user_id).toBe(alice.userId)
      expect((await whoami(body.access_token)).body).toEqual({
        user_id: alice.userId,
        device_id: body.device_id,
        is_guest: false,
      })
    }
  })

  test('says the same of a wrong password and of a user who is not there', async () => {
    const answers = await Promise.all([
      byPassword(localpart, 'guess'),
      byPassword(localpart, ''),
      byPassword('nobody'),
      byPassword('@alice1:far.example'),
      byPassword('@'),
      logIn({
        type: 'm.login.password',
        identifier: { type: 'm.id.thirdparty', medium: 'email', address: 'a@b.c' },
        password: 'secret',
      }),
    ])
    for (const { status, body } of answers)
      expect([status, body]).toEqual([
        403,
        { errcode: 'M_FORBIDDEN', error: 'The user name or the password is wrong' },
      ])
  })

  test('refuses what it does not know or does not get', async () => {
    const cases: [object, string][] = [
      [{}, 'M_BAD_JSON'],
      [{ type: 'm.login.token' }, 'M_MISSING_PARAM'],
      [{ type: 'm.login.sso', token: 't' }, 'M_UNKNOWN'],
      [{ type: 'm.login.password', password: 'secret' }, 'M_MISSING_PARAM'],
      [{ type: 'm.login.password', user: localpart }, 'M_MISSING_PARAM'],
      [
        { type: 'm.login.password', identifier: { type: 'm.id.user' }, password: 's' },
        'M_MISSING_PARAM',
      ],
      [{ type: 'm.login.password', identifier: { type: 'm.id.x' }, password: 's' }, 'M_UNKNOWN'],
      [{ type: 'm.login.password', user: localpart, password: 7 }, 'M_BAD_JSON'],
    ]
    for (const [body, errcode] of cases) {
      const answer = await logIn(body)
      expect([body, answer.status, answer.body.errcode]).toEqual([body, 400, errcode])
    }
    const text = await home.client.ask('POST', '/login', { text: '{' })
    expect(text.body.errcode).toBe('M_NOT_JSON')
  })

  test('on a device again ends the session before, and keeps the name of the device', async () => {
    const device = { device_id: 'PHONE', initial_device_display_name: 'my phone' }
    const first = (await byPassword(localpart, 'secret', device)).body
    expect(first.device_id).toBe('PHONE')
    expect((await whoami(first.access_token)).status).toBe(200)
    const second = (
      await byPassword(localpart, 'secret', { ...device, initial_device_display_name: 'other' })
    ).body
    expect((await whoami(first.access_token)).body.errcode).toBe('M_UNKNOWN_TOKEN')
    const found = await home.client.as(second.access_token).get('/devices/PHONE')
    expect(found.body.display_name).toBe('my phone')
  })

  test('refuses a device ID that cannot be one', async () => {
    for (const deviceId of ['', 'x'.repeat(256), 'a\0b'])
      expect((await byPassword(localpart, 'secret', { device_id: deviceId })).body.errcode).toBe(
        'M_INVALID_PARAM',
      )
  })

  test('tells where clients find the server, if the operator says it', async () => {
    const client = home.under({ public_base_url: 'https://matrix.example' })
    const { body } = await client.post('/login', {
      type: 'm.login.password',
      user: localpart,
      password: 'secret',
    })
    expect(body.well_known).toEqual({ 'm.homeserver': { base_url: 'https://matrix.example' } })
  })

  test('keeps no token and no password that can be used (CVE-2019-5885, CVE-2019-11842)', async () => {
    const { body } = await byPassword(localpart)
    const [{ dump } = { dump: '' }] = await db.pool<{ dump: string }[]>`
      select string_agg(t::text, '') || (select string_agg(u::text, '') from users u) as dump
      from access_tokens t`
    expect(dump).toContain('$argon2id$')
    expect(dump).not.toContain('secret')
    expect(dump).not.toContain(body.access_token)
    expect(dump).not.toContain(Buffer.from(body.access_token).toString('hex'))
  })
})

describe('logging out', () => {
  test('ends one session, with its device', async () => {
    const bob = await home.person('bob')
    const other = await home.logIn(bob.userId, { deviceId: 'OTHER' })
    expect(await bob.client.post('/logout')).toMatchObject({ status: 200, body: {} })
    expect(await bob.client.get('/account/whoami')).toMatchObject({
      status: 401,
      body: { errcode: 'M_UNKNOWN_TOKEN', soft_logout: false },
    })
    const { body } = await other.client.get('/devices')
    expect(body.devices.map((device: { device_id: string }) => device.device_id)).toEqual(['OTHER'])
  })

  test('everywhere ends all sessions of the user, and of nobody else', async () => {
    const [bob, carol] = [await home.person('bob'), await home.person('carol')]
    const other = await home.logIn(bob.userId)
    expect((await other.client.post('/logout/all')).status).toBe(200)
    for (const client of [bob.client, other.client])
      expect((await client.get('/account/whoami')).status).toBe(401)
    expect((await carol.client.get('/account/whoami')).status).toBe(200)
  })

  test('needs a token', async () => {
    for (const path of ['/logout', '/logout/all']) {
      expect((await home.client.post(path)).body.errcode).toBe('M_MISSING_TOKEN')
      expect((await home.client.as('nonsense').post(path)).body.errcode).toBe('M_UNKNOWN_TOKEN')
    }
  })
})
