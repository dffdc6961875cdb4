import { describe, expect, test } from 'bun:test'
import type { Answer } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from '#test/api/client-server/home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const root = await home.person('root', { admin: true })
const admin = root.client
const outcome = ({ status, body }: Answer) => [status, body?.errcode]
const v2 = '/_synapse/admin/v2/users'
const v1 = '/_synapse/admin/v1'

describe('users, as administrators see them', () => {
  test('are made, changed and shown', async () => {
    const userId = '@made:here.example'
    const threepids = [{ medium: 'email', address: 'Made@example.org' }]
    const made = await admin.put(`${v2}/${userId}`, {
      password: 'first',
      displayname: 'Made',
      avatar_url: 'mxc://a/b',
      threepids,
    })
    expect(made.status).toBe(201)
    const { body } = await admin.get(`${v2}/${userId}`)
    expect(body).toMatchObject({
      name: userId,
      displayname: 'Made',
      avatar_url: 'mxc://a/b',
      admin: false,
      deactivated: false,
      locked: false,
      suspended: false,
      is_guest: false,
      threepids: [{ medium: 'email', address: 'made@example.org' }],
      creation_ts: home.now,
    })
    const changed = await admin.put(`${v2}/${userId}`, {
      displayname: '',
      admin: true,
      password: 'second',
      threepids: [],
    })
    expect(changed.status).toBe(200)
    expect(changed.body).toMatchObject({ displayname: null, admin: true, threepids: [] })
    const login = { type: 'm.login.password', user: userId, password: 'second' }
    expect((await home.client.post('/login', login)).status).toBe(200)
  })

  test('are deactivated and come back', async () => {
    const { userId } = await home.person('back')
    await admin.put(`${v2}/${userId}`, { deactivated: true })
    expect((await admin.get(`${v2}/${userId}`)).body.deactivated).toBe(true)
    await admin.put(`${v2}/${userId}`, { deactivated: false, password: 'again' })
    const login = { type: 'm.login.password', user: userId, password: 'again' }
    expect((await home.client.post('/login', login)).status).toBe(200)
  })

  test('are listed, filtered, sorted and in pages', async () => {
    for (const name of ['list', 'list', 'list']) await home.person(name)
    const names = async (query: string) => {
      const { body } = await admin.get(`${v2}?${query}`)
      return (body.users as { name: string }[]).map(({ name }) => name)
    }
    const all = await names('name=list')
    expect(all).toHaveLength(3)
    const first = await admin.get(`${v2}?name=LIST&limit=2`)
    expect([first.body.total, first.body.next_token]).toEqual([3, '2'])
    expect(await names('name=list&from=2&limit=2')).toEqual(all.slice(2))
    expect(await names('user_id=list&dir=b')).toEqual(all.toReversed())
    expect(await names('name=list&admins=true')).toEqual([])
    expect(await names('name=100%25')).toEqual([])
    await home.ctx.accounts.deactivate(all[0]!, false)
    expect(await names('name=list')).toHaveLength(2)
    expect(await names('name=list&deactivated=true')).toHaveLength(3)
    await admin.put(`${v2}/${all[1]!}`, { locked: true })
    expect((await names('name=list&locked=true&order_by=locked&dir=b'))[0]).toBe(all[1]!)
    await admin.put(`${v2}/${all[1]!}`, { locked: false })
    for (const order of ['suspended', 'user_type', 'shadow_banned'])
      expect(await names(`name=list&order_by=${order}`)).toHaveLength(2)
    const v3 = await admin.get('/_synapse/admin/v3/users?name=list&deactivated=true')
    expect(v3.body.users).toHaveLength(1)
    const wrong = await admin.get(`${v2}?order_by=password_hash`)
    expect(outcome(wrong)).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('refuse what is wrong before anything is changed', async () => {
    const { userId } = await home.person('kept')
    const taken = [{ medium: 'email', address: 'taken@example.org' }]
    await admin.put(`${v2}/@owner:here.example`, { threepids: taken })
    const faults: [string, object][] = [
      [userId, { displayname: 'changed', threepids: taken }],
      [userId, { displayname: 'changed', threepids: [{ medium: 'email', address: 'no' }] }],
      [userId, { displayname: 'changed', avatar_url: 'https://x' }],
      ['@x:far.example', { password: 'p' }],
    ]
    for (const [who, body] of faults)
      expect(outcome(await admin.put(`${v2}/${who}`, body))).toEqual([400, 'M_INVALID_PARAM'])
    expect((await admin.get(`${v2}/${userId}`)).body.displayname).toBeNull()
    expect(outcome(await admin.get(`${v2}/@none:here.example`))).toEqual([404, 'M_NOT_FOUND'])
    expect(outcome(await admin.put(`${v2}/${root.userId}`, { admin: false }))).toEqual([
      403,
      'M_FORBIDDEN',
    ])
  })

  test('are nobody’s business but administrators’', async () => {
    const { client } = await home.person('curious')
    expect(outcome(await client.get(v2))).toEqual([403, 'M_FORBIDDEN'])
    expect(outcome(await home.client.get(v2))).toEqual([401, 'M_MISSING_TOKEN'])
  })
})

describe('what administrators do with an account', () => {
  test('sets its password and ends its sessions', async () => {
    const { userId, client } = await home.person('pat')
    expect((await admin.post(`${v1}/reset_password/${userId}`, { new_password: 'n' })).status).toBe(
      200,
    )
    expect((await client.get('/account/whoami')).status).toBe(401)
    const login = { type: 'm.login.password', user: userId, password: 'n' }
    expect((await home.client.post('/login', login)).status).toBe(200)
    const none = await admin.post(`${v1}/reset_password/@no:here.example`, { new_password: 'n' })
    expect(outcome(none)).toEqual([404, 'M_NOT_FOUND'])
  })

  test('deactivates it, suspends it, gives it powers', async () => {
    const { userId } = await home.person('pat')
    await admin.put(`${v1}/suspend/${userId}`, { suspend: true })
    await admin.put(`${v1}/users/${userId}/admin`, { admin: true })
    expect((await admin.get(`${v1}/users/${userId}/admin`)).body).toEqual({ admin: true })
    expect((await admin.get(`${v2}/${userId}`)).body).toMatchObject({ suspended: true })
    await admin.post(`${v1}/deactivate/${userId}`, { erase: true })
    expect((await admin.get(`${v2}/${userId}`)).body).toMatchObject({
      deactivated: true,
      erased: true,
    })
    const self = [
      await admin.post(`${v1}/deactivate/${root.userId}`),
      await admin.put(`${v1}/users/${root.userId}/admin`, { admin: false }),
      await admin.put(`${v1}/suspend/${root.userId}`, { suspend: true }),
    ]
    for (const answer of self) expect(outcome(answer)).toEqual([403, 'M_FORBIDDEN'])
  })

  test('looks at its devices and rooms, and removes devices', async () => {
    const { userId, deviceId, client } = await home.person('pat')
    const other = await home.logIn(userId)
    const list = await admin.get(`${v2}/${userId}/devices`)
    expect(list.body.total).toBe(2)
    await admin.put(`${v2}/${userId}/devices/${deviceId}`, { display_name: 'Seen' })
    expect((await admin.get(`${v2}/${userId}/devices/${deviceId}`)).body.display_name).toBe('Seen')
    await admin.post(`${v2}/${userId}/delete_devices`, { devices: [other.deviceId] })
    await admin.delete(`${v2}/${userId}/devices/${deviceId}`)
    expect((await client.get('/account/whoami')).status).toBe(401)
    expect((await admin.get(`${v1}/users/${userId}/joined_rooms`)).body).toEqual({
      joined_rooms: [],
      total: 0,
    })
  })

  test('asks from where it was seen, as its user may', async () => {
    const { userId, deviceId, client } = await home.person('pat')
    await client.get('/account/whoami')
    await home.ctx.tokens.flush()
    const answers = [
      await admin.get(`${v1}/whois/${userId}`),
      await admin.get(`/admin/whois/${userId}`),
      await client.get(`/admin/whois/${userId}`),
    ]
    for (const { body } of answers)
      expect(body.devices[deviceId].sessions[0].connections[0]).toMatchObject({ ip: '127.0.0.1' })
    const stranger = (await home.person('stranger')).client
    expect(outcome(await stranger.get(`/admin/whois/${userId}`))).toEqual([403, 'M_FORBIDDEN'])
  })
})

describe('registration tokens', () => {
  const path = `${v1}/registration_tokens`

  test('are made, listed, changed and removed', async () => {
    const made = await admin.post(`${path}/new`, {})
    expect(made.body).toEqual({
      token: expect.stringMatching(/^\w{16}$/),
      uses_allowed: null,
      pending: 0,
      completed: 0,
      expiry_time: null,
    })
    const named = await admin.post(`${path}/new`, { token: 'a.b~c', uses_allowed: 0 })
    expect(named.body.token).toBe('a.b~c')
    const listed = async (query: string) =>
      ((await admin.get(`${path}${query}`)).body.registration_tokens as object[]).length
    expect([await listed(''), await listed('?valid=true'), await listed('?valid=false')]).toEqual([
      2, 1, 1,
    ])
    const expiry_time = home.now + 1000
    const changed = await admin.put(`${path}/a.b~c`, { expiry_time })
    expect(changed.body).toMatchObject({ uses_allowed: 0, expiry_time })
    await admin.put(`${path}/a.b~c`, { uses_allowed: null, expiry_time: null })
    expect(await listed('?valid=true')).toBe(2)
    expect((await admin.delete(`${path}/a.b~c`)).body).toEqual({})
    expect(outcome(await admin.get(`${path}/a.b~c`))).toEqual([404, 'M_NOT_FOUND'])
  })

  test('refuse what they cannot be', async () => {
    await admin.post(`${path}/new`, { token: 'once' })
    const faults = [
      { token: 'once' },
      { token: 'a b' },
      { token: 'x'.repeat(65) },
      { token: '' },
      { expiry_time: home.now - 1 },
    ]
    for (const body of faults)
      expect(outcome(await admin.post(`${path}/new`, body))).toEqual([400, 'M_INVALID_PARAM'])
    for (const body of [{ uses_allowed: -1 }, { length: 0 }, { uses_allowed: 1.5 }])
      expect(outcome(await admin.post(`${path}/new`, body))).toEqual([400, 'M_BAD_JSON'])
    expect(outcome(await admin.put(`${path}/none`, {}))).toEqual([404, 'M_NOT_FOUND'])
  })
})
