import { describe, expect, test } from 'bun:test'
import { ops } from '#api/index.ts'
import type { AnyOp } from '#api/http/op.ts'
import type { Answer } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const admin = (await home.person('admin', { admin: true })).client
const outcome = ({ status, body }: Answer) => [status, body?.errcode]

/** The operations that know their caller, each with a path. */
const known = ops.filter(({ auth }) => /^(user|owner|admin)/.test(auth))
const pathOf = ({ path }: AnyOp) => path.replace(/:\w+/g, 'x')

/** What each of some operations answers somebody, before it does anything. */
async function askAll(token: string, some: readonly AnyOp[]): Promise<Map<string, unknown[]>> {
  const answers = new Map<string, unknown[]>()
  const client = home.client.as(token)
  for (const op of some) {
    const answer = await client.ask(op.method, pathOf(op))
    answers.set(`${op.method} ${op.path}`, outcome(answer))
  }
  return answers
}

const others = (answers: Map<string, unknown[]>, expected: unknown[]) =>
  [...answers].filter(([, answer]) => !Bun.deepEquals(answer, expected))

async function guest() {
  const open = home.under({ registration: { enabled: false, guests: true } })
  const { body } = await open.post('/register?kind=guest', { initial_device_display_name: 'G' })
  return { userId: body.user_id as string, token: body.access_token as string }
}

describe('over the whole table of operations', () => {
  const needing = known.filter(({ auth }) => !auth.endsWith('Optional'))

  test('no token, and none that is good, is turned away from what needs one', async () => {
    const none = new Map<string, unknown[]>()
    for (const op of needing) {
      const answer = await home.client.ask(op.method, pathOf(op))
      none.set(`${op.method} ${op.path}`, outcome(answer))
    }
    expect(others(none, [401, 'M_MISSING_TOKEN'])).toEqual([])
    expect(others(await askAll('unknown', known), [401, 'M_UNKNOWN_TOKEN'])).toEqual([])
  })

  test('a guest is turned away from what does not admit guests', async () => {
    const closed = known.filter(({ admits = [] }) => !admits.includes('guest'))
    const answers = await askAll((await guest()).token, closed)
    // Whoever may not administrate is told so, or that they are a guest.
    expect(others(answers, [403, 'M_GUEST_ACCESS_FORBIDDEN'])).toEqual(
      closed
        .filter(({ auth }) => auth === 'admin')
        .map(({ method, path }) => [`${method} ${path}`, [403, 'M_FORBIDDEN']]),
    )
  })

  test('a locked user can only log out', async () => {
    const lou = await home.person('lou')
    await home.ctx.accounts.change(lou.userId, { locked: true, admin: true })
    const closed = known.filter(({ admits = [] }) => !admits.includes('locked'))
    expect(others(await askAll(lou.token, closed), [401, 'M_USER_LOCKED'])).toEqual([])
    expect(known.length - closed.length).toBe(2)
  })

  test('a suspended user is turned away from what changes anything for others', async () => {
    const sue = await home.person('sue')
    await home.ctx.accounts.change(sue.userId, { suspended: true, admin: true })
    const closed = known.filter(
      ({ method, admits = [] }) => method !== 'GET' && !admits.includes('suspended'),
    )
    expect(others(await askAll(sue.token, closed), [403, 'M_USER_SUSPENDED'])).toEqual([])
  })
})

describe('a locked account', () => {
  const lock = (userId: string, locked: unknown) =>
    admin.put(`/_matrix/client/v1/admin/lock/${userId}`, { locked })

  test('keeps its sessions, softly logged out, until it is unlocked', async () => {
    const { userId, client } = await home.person('lou')
    expect((await lock(userId, true)).body).toEqual({ locked: true })
    expect((await admin.get(`/_matrix/client/v1/admin/lock/${userId}`)).body).toEqual({
      locked: true,
    })
    const { status, body } = await client.get('/sync')
    expect([status, body.errcode, body.soft_logout]).toEqual([401, 'M_USER_LOCKED', true])
    const login = { type: 'm.login.password', user: userId, password: 'secret' }
    expect(outcome(await home.client.post('/login', login))).toEqual([401, 'M_USER_LOCKED'])
    // Who does not know the password is not told.
    const wrong = await home.client.post('/login', { ...login, password: 'wrong' })
    expect(outcome(wrong)).toEqual([403, 'M_FORBIDDEN'])
    await lock(userId, false)
    expect((await client.get('/account/whoami')).status).toBe(200)
  })

  test('can be logged out', async () => {
    const { userId, client } = await home.person('lou')
    await lock(userId, true)
    expect((await client.post('/logout')).status).toBe(200)
    expect(outcome(await client.get('/account/whoami'))).toEqual([401, 'M_UNKNOWN_TOKEN'])
  })

  test('is not refreshed', async () => {
    const { userId } = await home.person('lou')
    const session = await home.ctx.accounts.logIn(userId, { refreshable: true })
    await lock(userId, true)
    const answer = await home.client.post('/refresh', { refresh_token: session.refreshToken })
    expect(outcome(answer)).toEqual([401, 'M_USER_LOCKED'])
  })

  test('is one of this server, of nobody who administrates it, and set by who does', async () => {
    const [lou, other] = [await home.person('lou'), await home.person('a', { admin: true })]
    expect(outcome(await lock('@x:far.example', true))).toEqual([400, 'M_INVALID_PARAM'])
    expect(outcome(await lock('@none:here.example', true))).toEqual([404, 'M_NOT_FOUND'])
    expect(outcome(await lock(other.userId, true))).toEqual([403, 'M_FORBIDDEN'])
    expect(outcome(await lock(lou.userId, 'yes'))).toEqual([400, 'M_BAD_JSON'])
    // Nobody learns who is there who may not ask.
    for (const userId of [lou.userId, '@none:here.example']) {
      const answer = await lou.client.get(`/_matrix/client/v1/admin/lock/${userId}`)
      expect(outcome(answer)).toEqual([403, 'M_FORBIDDEN'])
    }
    await home.ctx.accounts.deactivate(lou.userId, false)
    expect(outcome(await lock(lou.userId, true))).toEqual([404, 'M_NOT_FOUND'])
  })
})

describe('a suspended account', () => {
  test('reads, logs in, and tells others nothing', async () => {
    const { userId, client } = await home.person('sue')
    const path = `/_matrix/client/v1/admin/suspend/${userId}`
    expect((await admin.put(path, { suspended: true })).body).toEqual({ suspended: true })
    expect((await client.get('/sync')).status).toBe(200)
    const renamed = await client.put(`/profile/${userId}/displayname`, { displayname: 'S' })
    expect(outcome(renamed)).toEqual([403, 'M_USER_SUSPENDED'])
    expect(outcome(await client.post('/createRoom', {}))).toEqual([403, 'M_USER_SUSPENDED'])
    expect((await home.logIn(userId)).token).toBeString()
    expect((await client.put(`/user/${userId}/account_data/m.x`, {})).status).toBe(200)
    await admin.put(path, { suspended: false })
    expect((await admin.get(path)).body).toEqual({ suspended: false })
    expect((await client.put(`/profile/${userId}/displayname`, { displayname: 'S' })).status).toBe(
      200,
    )
  })
})

describe('a guest', () => {
  test('is made without any proof where the operator allows it, and is told to be one', async () => {
    const refused = await home.client.post('/register?kind=guest', {})
    expect(outcome(refused)).toEqual([403, 'M_GUEST_ACCESS_FORBIDDEN'])
    const { userId, token } = await guest()
    const { body } = await home.client.as(token).get('/account/whoami')
    expect(body).toMatchObject({ user_id: userId, is_guest: true })
    for (const secret of ['', 'secret']) {
      const login = { type: 'm.login.password', user: userId, password: secret }
      expect((await home.client.post('/login', login)).status).toBe(403)
    }
  })

  test('has a name, and nothing else of a profile', async () => {
    const { userId, token } = await guest()
    const client = home.client.as(token)
    const put = (name: string, value: string) =>
      client.put(`/profile/${userId}/${name}`, { [name]: value })
    expect((await put('displayname', 'G')).status).toBe(200)
    const forbidden = [403, 'M_GUEST_ACCESS_FORBIDDEN']
    expect(outcome(await put('avatar_url', 'mxc://a/b'))).toEqual(forbidden)
    expect(outcome(await client.delete(`/profile/${userId}/m.tz`))).toEqual(forbidden)
    expect((await client.delete(`/profile/${userId}/displayname`)).status).toBe(200)
  })

  test('joins no room that does not say that guests may', async () => {
    const { token } = await guest()
    const answer = await home.client.as(token).post('/rooms/!none:here.example/join')
    expect(outcome(answer)).toEqual([403, 'M_GUEST_ACCESS_FORBIDDEN'])
  })

  test('becomes a user under the same name, by their own token', async () => {
    const { userId, token } = await guest()
    const open = home.under({ registration: { enabled: true, dummy: true, guests: true } })
    const username = userId.slice(1, userId.indexOf(':'))
    const upgrade = (more: object) =>
      open.post('/register', {
        username,
        password: 'p',
        guest_access_token: token,
        auth: { type: 'm.login.dummy' },
        ...more,
      })
    expect(outcome(await upgrade({ guest_access_token: 'x' }))).toEqual([403, 'M_FORBIDDEN'])
    const { token: own } = await home.person('mia')
    expect(outcome(await upgrade({ guest_access_token: own }))).toEqual([403, 'M_FORBIDDEN'])
    expect(outcome(await upgrade({ username: 'other' }))).toEqual([400, 'M_INVALID_USERNAME'])
    expect((await upgrade({})).body.user_id).toBe(userId)
    const login = { type: 'm.login.password', user: userId, password: 'p' }
    expect((await home.client.post('/login', login)).status).toBe(200)
    expect((await home.client.as(token).get('/account/whoami')).body.is_guest).toBe(false)
  })
})
