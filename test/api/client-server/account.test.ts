import { describe, expect, test } from 'bun:test'
import type { Answer, Client } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'
import { Inbox } from './inbox.ts'

const db = await testDatabase()
const inbox = await Inbox.open()
const home = await Home.open(db, {
  mail: inbox.mail,
  config: { public_base_url: 'https://here.example' },
})
const outcome = ({ status, body }: Answer) => [status, body.errcode]

const auth = ({ userId }: Person, password = 'secret') => ({
  type: 'm.login.password',
  user: userId,
  password,
})
const logIn = (user: string, password: string, more: object = { user }) =>
  home.client.post('/login', { type: 'm.login.password', password, ...more })
const isLoggedIn = async (token: string) =>
  (await home.client.as(token).get('/account/whoami')).status === 200

const askToken = (client: Client, path: string, email: string, secret = 's') =>
  client.post(`${path}/email/requestToken`, { client_secret: secret, email, send_attempt: 1 })
const confirm = (link: URL) => home.client.page('POST', link.pathname + link.search)

/** Gives a person a confirmed address. */
async function addEmail(person: Person, email: string): Promise<Answer> {
  const { sid } = (await askToken(person.client, '/account/3pid', email)).body
  await confirm(await inbox.nextLink())
  return person.client.post('/account/3pid/add', { sid, client_secret: 's', auth: auth(person) })
}

describe('a password', () => {
  test('is changed by whoever knows the old one, and ends the other sessions', async () => {
    const pia = await home.person('pia')
    const other = await home.logIn(pia.userId)
    const change = (more: object) =>
      pia.client.post('/account/password', { new_password: 'new', ...more })
    expect((await change({})).status).toBe(401)
    expect(outcome(await change({ auth: auth(pia, 'wrong') }))).toEqual([401, 'M_FORBIDDEN'])
    expect((await change({ auth: auth(pia) })).status).toBe(200)
    expect([await isLoggedIn(pia.token), await isLoggedIn(other.token)]).toEqual([true, false])
    expect((await pia.client.get('/devices')).body.devices).toHaveLength(1)
    expect((await logIn(pia.userId, 'new')).status).toBe(200)
    expect(outcome(await logIn(pia.userId, 'secret'))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('may leave the other sessions, and may not be empty', async () => {
    const pia = await home.person('pia')
    const other = await home.logIn(pia.userId)
    const answer = await pia.client.post('/account/password', {
      new_password: 'new',
      logout_devices: false,
      auth: auth(pia),
    })
    expect(answer.status).toBe(200)
    expect(await isLoggedIn(other.token)).toBe(true)
    const empty = await pia.client.post('/account/password', { new_password: '' })
    expect(outcome(empty)).toEqual([400, 'M_WEAK_PASSWORD'])
  })

  test('is reset by whoever reads the mail of the account, which ends all sessions', async () => {
    const pia = await home.person('pia')
    await addEmail(pia, 'pia@example.org')
    const { sid } = (await askToken(home.client, '/account/password', 'Pia@example.org', 'r')).body
    const body = {
      new_password: 'reset',
      auth: {
        type: 'm.login.email.identity',
        threepid_creds: { sid, client_secret: 'r' },
      },
    }
    expect((await home.client.post('/account/password', { new_password: 'x' })).body.flows).toEqual(
      [{ stages: ['m.login.email.identity'] }],
    )
    expect(outcome(await home.client.post('/account/password', body))).toEqual([
      401,
      'M_UNAUTHORIZED',
    ])
    await confirm(await inbox.nextLink())
    expect((await home.client.post('/account/password', body)).status).toBe(200)
    expect(await isLoggedIn(pia.token)).toBe(false)
    expect((await logIn(pia.userId, 'reset')).status).toBe(200)
    // The letter is good for one reset.
    expect(outcome(await home.client.post('/account/password', body))).toEqual([
      401,
      'M_UNAUTHORIZED',
    ])
  })

  test('of an address without an account is asked for alike, and cannot be reset', async () => {
    const { status, body } = await askToken(home.client, '/account/password', 'no@example.org')
    expect([status, Object.keys(body)]).toEqual([200, ['sid']])
    const letter = await inbox.next()
    expect(letter.text).toContain('There is no account')
    expect(letter.text).not.toContain('https://')
    const answer = await home.client.post('/account/password', {
      new_password: 'x',
      auth: {
        type: 'm.login.email.identity',
        threepid_creds: { sid: body.sid, client_secret: 's' },
      },
    })
    expect(outcome(answer)).toEqual([401, 'M_UNAUTHORIZED'])
  })

  test('is not reset with the secret of a letter to another address (GHSA-v2x6-m99h-vqxx)', async () => {
    const [pia, eve] = [await home.person('pia'), await home.person('eve')]
    await addEmail(pia, 'pia3@example.org')
    await addEmail(eve, 'eve@example.org')
    const ask = (address: string) => askToken(home.client, '/account/password', address, 'same')
    const own = (await ask('eve@example.org')).body.sid as string
    await confirm(await inbox.nextLink())
    const others = (await ask('pia3@example.org')).body.sid as string
    await inbox.next()
    expect(others).not.toBe(own)
    for (const sid of [own, others])
      await home.client.post('/account/password', {
        new_password: 'stolen',
        auth: {
          type: 'm.login.email.identity',
          threepid_creds: { sid, client_secret: 'same' },
        },
      })
    expect((await logIn(pia.userId, 'stolen')).status).toBe(403)
    expect((await logIn(eve.userId, 'stolen')).status).toBe(200)
  })

  test('is not reset by a letter for something else, or with the secret of another', async () => {
    const pia = await home.person('pia')
    const { sid } = (await askToken(pia.client, '/account/3pid', 'pia2@example.org')).body
    await confirm(await inbox.nextLink())
    const reset = (creds: object) =>
      home.client.post('/account/password', {
        new_password: 'x',
        auth: { type: 'm.login.email.identity', threepid_creds: creds },
      })
    const wrong = [
      await reset({ sid, client_secret: 's' }),
      await reset({ sid, client_secret: 'other' }),
      await reset({ sid: '\0', client_secret: 's' }),
    ]
    for (const answer of wrong) expect(outcome(answer)).toEqual([401, 'M_UNAUTHORIZED'])
    expect(outcome(await reset({ sid }))).toEqual([400, 'M_BAD_JSON'])
  })
})

describe('addresses', () => {
  test('are added once they are confirmed and the user has proved who they are', async () => {
    const lea = await home.person('lea')
    const { sid } = (await askToken(lea.client, '/account/3pid', 'lea@example.org')).body
    const add = (more: object) =>
      lea.client.post('/account/3pid/add', { sid, client_secret: 's', ...more })
    expect(outcome(await add({ auth: auth(lea) }))).toEqual([400, 'M_THREEPID_AUTH_FAILED'])
    await confirm(await inbox.nextLink())
    expect((await add({})).status).toBe(401)
    expect((await add({ auth: auth(lea) })).status).toBe(200)
    const { body } = await lea.client.get('/account/3pid')
    expect(body.threepids).toEqual([
      {
        medium: 'email',
        address: 'lea@example.org',
        validated_at: home.now,
        added_at: home.now,
      },
    ])
    const identifier = { type: 'm.id.thirdparty', medium: 'email', address: 'LEA@example.org' }
    expect((await logIn('', 'secret', { identifier })).body.user_id).toBe(lea.userId)
    const older = { medium: 'email', address: 'lea@example.org' }
    expect((await logIn('', 'secret', older)).status).toBe(200)
    const unknown = { identifier: { ...identifier, address: 'who@example.org' } }
    expect(outcome(await logIn('', 'secret', unknown))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('belong to one user, also when two confirm one at once', async () => {
    const [one, two] = [await home.person('lea'), await home.person('lea')]
    const begin = async (person: Person, secret: string) => {
      const { body } = await askToken(person.client, '/account/3pid', 'both@example.org', secret)
      await confirm(await inbox.nextLink())
      return { sid: body.sid as string, client_secret: secret, auth: auth(person) }
    }
    const bodies = [await begin(one, 'a'), await begin(two, 'b')] as const
    expect((await one.client.post('/account/3pid/add', bodies[0])).status).toBe(200)
    const late = await two.client.post('/account/3pid/add', bodies[1])
    expect(outcome(late)).toEqual([400, 'M_THREEPID_IN_USE'])
  })

  test('are removed, and then log nobody in', async () => {
    const lea = await home.person('lea')
    await addEmail(lea, 'away@example.org')
    const stranger = await home.person('mia')
    const removal = { medium: 'email', address: 'Away@Example.org' }
    await stranger.client.post('/account/3pid/delete', removal)
    expect((await lea.client.get('/account/3pid')).body.threepids).toHaveLength(1)
    const { body } = await lea.client.post('/account/3pid/delete', removal)
    expect(body).toEqual({ id_server_unbind_result: 'no-support' })
    expect((await lea.client.get('/account/3pid')).body.threepids).toEqual([])
    expect((await logIn('', 'secret', removal)).status).toBe(403)
  })

  test('are bound nowhere', async () => {
    const lea = await home.person('lea')
    const creds = { client_secret: 's', sid: '1', id_server: 'id.example', id_access_token: 't' }
    const answers = [
      await lea.client.post('/account/3pid', { three_pid_creds: creds }),
      await lea.client.post('/account/3pid/bind', creds),
    ]
    for (const answer of answers) expect(outcome(answer)).toEqual([403, 'M_THREEPID_AUTH_FAILED'])
    const unbound = await lea.client.post('/account/3pid/unbind', {
      medium: 'email',
      address: 'a@example.org',
    })
    expect(unbound.body).toEqual({ id_server_unbind_result: 'no-support' })
  })
})

describe('devices', () => {
  test('are renamed by their user alone', async () => {
    const [dan, eve] = [await home.person('dan'), await home.person('eve')]
    const rename = (by: Person, name: unknown) =>
      by.client.put(`/devices/${dan.deviceId}`, { display_name: name })
    expect((await rename(dan, 'Desk')).status).toBe(200)
    expect(outcome(await rename(eve, 'Mine'))).toEqual([404, 'M_NOT_FOUND'])
    expect(outcome(await rename(dan, 'x'.repeat(1001)))).toEqual([400, 'M_BAD_JSON'])
    expect(outcome(await dan.client.put('/devices/NONE', {}))).toEqual([404, 'M_NOT_FOUND'])
    expect((await dan.client.put(`/devices/${dan.deviceId}`, {})).status).toBe(200)
    const { body } = await dan.client.get(`/devices/${dan.deviceId}`)
    expect(body.display_name).toBe('Desk')
  })

  test('are removed with their sessions, those of others are not', async () => {
    const [dan, eve] = [await home.person('dan'), await home.person('eve')]
    const other = await home.logIn(dan.userId)
    const devices = [other.deviceId, eve.deviceId, 'NONE']
    const answer = await dan.client.post('/delete_devices', { devices, auth: auth(dan) })
    expect(answer.status).toBe(200)
    expect(await isLoggedIn(other.token)).toBe(false)
    expect([await isLoggedIn(dan.token), await isLoggedIn(eve.token)]).toEqual([true, true])
    const own = await dan.client.delete(`/devices/${dan.deviceId}`, { auth: auth(dan) })
    expect(own.status).toBe(200)
    expect(await isLoggedIn(dan.token)).toBe(false)
  })
})

describe('deactivation', () => {
  test('takes away all that an account can be used by, and leaves its rooms', async () => {
    const gus = await home.person('gus')
    await addEmail(gus, 'gus@example.org')
    const other = await home.logIn(gus.userId)
    await gus.client.post('/room_keys/version', {
      algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2',
      auth_data: { public_key: 'abc' },
    })
    const deactivate = (more: object) => gus.client.post('/account/deactivate', more)
    expect((await deactivate({})).status).toBe(401)
    const { body } = await deactivate({ auth: auth(gus) })
    expect(body).toEqual({ id_server_unbind_result: 'success' })
    await home.ctx.departures.settled()
    expect([await isLoggedIn(gus.token), await isLoggedIn(other.token)]).toEqual([false, false])
    expect(outcome(await logIn(gus.userId, 'secret'))).toEqual([403, 'M_FORBIDDEN'])
    const taken = await home.client.get(`/profile/${gus.userId}`)
    expect(outcome(taken)).toEqual([404, 'M_NOT_FOUND'])
    const rows = await db.pool`
      select from user_threepids where user_id = ${gus.userId}
      union all select from devices where user_id = ${gus.userId}
      union all select from departures where user_id = ${gus.userId}
      union all select from key_backups where user_id = ${gus.userId} and not deleted`
    expect(rows).toHaveLength(0)
  })

  test('erases what was asked to be erased', async () => {
    const gus = await home.person('gus')
    await gus.client.put(`/profile/${gus.userId}/displayname`, { displayname: 'Gus' })
    await gus.client.put(`/user/${gus.userId}/account_data/m.x`, { a: 1 })
    const answer = await gus.client.post('/account/deactivate', { erase: true, auth: auth(gus) })
    expect(answer.status).toBe(200)
    const rows = await db.pool`
      select from profile_fields where user_id = ${gus.userId}
      union all select from account_data where user_id = ${gus.userId}`
    expect(rows).toHaveLength(0)
    expect(home.ctx.erased.has(gus.userId)).toBe(true)
  })

  test('without a session needs the password, and is that of one account', async () => {
    const gus = await home.person('gus')
    const wrong = await home.client.post('/account/deactivate', { auth: auth(gus, 'wrong') })
    expect(outcome(wrong)).toEqual([401, 'M_FORBIDDEN'])
    const right = await home.client.post('/account/deactivate', { auth: auth(gus) })
    expect(right.status).toBe(200)
    expect(await isLoggedIn(gus.token)).toBe(false)
  })
})
