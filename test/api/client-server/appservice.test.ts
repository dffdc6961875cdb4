import { describe, expect, test } from 'bun:test'
import { op } from '#api/http/op.ts'
import { RateLimits, defaultBudgets } from '#api/http/rate-limit.ts'
import { appserviceLogin } from '#core/appservice.ts'
import { makeSenders } from '#engine/user/appservice-senders.ts'
import { Client } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { acting, appservices, ghost, irc, openBridged, sms, told } from './bridge.ts'

const db = await testDatabase()
const home = await openBridged(db)
const alice = await home.person('alice')
const asIrc = home.client.as(irc.asToken)
const asSms = home.client.as(sms.asToken)

const whoami = (client: Client, query = '') => client.get(`/account/whoami${query}`)

describe('an application service', () => {
  test('is its sender, who is there from the start on, on no device', async () => {
    expect((await whoami(asIrc)).body).toEqual({ user_id: '@ircbot:here.example', is_guest: false })
    // Again, when they are there.
    await makeSenders(home.ctx, appservices)
  })

  test('acts as any user of its namespaces who is registered, and as nobody else', async () => {
    const userId = await ghost(asIrc)
    for (const id of [userId, alice.userId, '@ircbot:here.example'])
      expect((await whoami(asIrc, acting(id))).body.user_id).toBe(id)
    for (const id of [
      '@_irc_nobody:here.example',
      '@smsbot:here.example',
      '@_irc_bob:far.example',
      '@_irc_\0:here.example',
      `@_irc_${'x'.repeat(300)}:here.example`,
      '_irc_ghost1',
      '',
    ])
      expect([id, ...told(await whoami(asIrc, acting(id)))]).toEqual([id, 403, 'M_FORBIDDEN'])
  })

  test('acts as a user whom another one acted as before by its own namespaces', async () => {
    const userId = await ghost(asIrc)
    await whoami(asIrc, acting(userId))
    expect((await whoami(asSms, acting(userId))).status).toBe(200)
    await whoami(asIrc, acting(alice.userId))
    expect(told(await whoami(asSms, acting(alice.userId)))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('names a device that the user has, until it is removed', async () => {
    const userId = await ghost(asIrc)
    const { client } = await home.logIn(userId, { deviceId: 'DEV' })
    const query = acting(userId, '&device_id=DEV')
    expect((await whoami(asIrc, query)).body.device_id).toBe('DEV')
    const older = acting(userId, '&org.matrix.msc3202.device_id=DEV')
    expect((await whoami(asIrc, older)).body.device_id).toBe('DEV')
    expect((await whoami(asIrc, acting(userId))).body.device_id).toBeUndefined()
    for (const wrong of [
      acting(userId, '&device_id=OTHER'),
      acting(userId, '&device_id='),
      acting(userId, '&device_id=%00'),
      acting(alice.userId, '&device_id=DEV'),
      '?device_id=DEV',
    ])
      expect(told(await whoami(asIrc, wrong))).toEqual([400, 'M_UNKNOWN_DEVICE'])
    await client.post('/logout')
    expect(told(await whoami(asIrc, query))).toEqual([400, 'M_UNKNOWN_DEVICE'])
  })

  test('is not believed with a token that is like its own, or is for it', async () => {
    for (const token of ['irc-toke', 'irc-token2', 'IRC-TOKEN', irc.hsToken])
      expect(told(await whoami(home.client.as(token)))).toEqual([401, 'M_UNKNOWN_TOKEN'])
    // Nor is a user who says whom they want to be.
    expect((await whoami(alice.client, acting('@ircbot:here.example'))).body.user_id).toBe(
      alice.userId,
    )
  })

  test('has none of the rights of an administrator whom it acts as', async () => {
    const root = await home.person('root', { admin: true })
    const room = await home.story.room(alice.userId)
    const path = `/rooms/${encodeURIComponent(room.roomId)}/aliases`
    expect((await root.client.get(path)).status).toBe(200)
    expect(told(await asIrc.get(path + acting(root.userId)))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('ends no sessions: it has none, and those of its users are theirs', async () => {
    const own = await home.person('alice')
    for (const path of ['/logout', '/logout/all'])
      expect(told(await asIrc.post(path + acting(own.userId)))).toEqual([403, 'M_FORBIDDEN'])
    expect((await whoami(own.client)).status).toBe(200)
  })

  test('syncs as a user that it names', async () => {
    expect(told(await asIrc.get('/sync'))).toEqual([403, 'M_FORBIDDEN'])
    const { status, body } = await asIrc.get(`/sync${acting(await ghost(asIrc))}`)
    expect([status, typeof body.next_batch]).toEqual([200, 'string'])
  })
})

test('each kind of caller is let in where an operation says so', async () => {
  const one = <A extends 'user' | 'owner' | 'admin' | 'appservice' | 'appserviceOptional'>(
    auth: A,
  ) =>
    op({
      id: auth,
      method: 'GET',
      path: `/_laneway/${auth}`,
      auth,
      run: ({ who }) => ({ is: who && 'appservice' in who ? who.appservice?.id : who?.userId }),
    })
  const kinds = ['user', 'owner', 'admin', 'appservice', 'appserviceOptional'] as const
  const asked = Client.of(home.ctx, { ops: kinds.map((kind) => one(kind)) })
  const root = await home.person('root', { admin: true })
  const answers = async (client: Client, query = '') => {
    const all = await Promise.all(kinds.map((kind) => client.get(`/_laneway/${kind}${query}`)))
    return all.map(({ status, body }) => (status === 200 ? (body.is ?? null) : status))
  }
  const { userId } = alice
  expect(await answers(asked)).toEqual([401, 401, 401, 401, null])
  expect(await answers(asked.as('nonsense'))).toEqual([401, 401, 401, 401, null])
  expect(await answers(asked.as(alice.token))).toEqual([userId, userId, 403, 403, null])
  expect(await answers(asked.as(root.token))).toEqual([
    root.userId,
    root.userId,
    root.userId,
    403,
    null,
  ])
  for (const query of ['', acting(root.userId)])
    expect(await answers(asked.as(irc.asToken), query)).toEqual(['irc', 403, 403, 'irc', 'irc'])
})

describe('rate limits', () => {
  test('hold for the users of an application service as it is registered, never for its sender', async () => {
    const limited = Client.of({ ...home.ctx, limits: new RateLimits(defaultBudgets, () => 0) })
    const { burst } = defaultBudgets.lookup
    const statuses = async (client: Client, query: string) => {
      const answers = await Promise.all(
        Array.from({ length: burst + 1 }, () =>
          client.get(`/rooms/!r:here.example/aliases${query}`),
        ),
      )
      return new Set(answers.map(({ status }) => status))
    }
    const userId = await ghost(asIrc)
    expect(await statuses(limited.as(irc.asToken), acting(userId))).toEqual(new Set([403, 429]))
    expect(await statuses(limited.as(irc.asToken), '')).toEqual(new Set([403]))
    expect(await statuses(limited.as(sms.asToken), acting(userId))).toEqual(new Set([403]))
  })

  test('do not hold for registering its users', async () => {
    const limited = Client.of({ ...home.ctx, limits: new RateLimits(defaultBudgets, () => 0) })
    for (let index = 0; index <= defaultBudgets.registration.burst; index++) {
      const body = { type: appserviceLogin, username: `_irc_many${index}`, inhibit_login: true }
      expect((await limited.as(irc.asToken).post('/register', body)).status).toBe(200)
    }
  })
})

describe('registering users of an application service', () => {
  const register = (client: Client, username: unknown, more: object = {}) =>
    client.post('/register', { type: appserviceLogin, username, ...more })

  test('needs no password, and no open registration', async () => {
    const closed = home.under({})
    const { status, body } = await register(closed.as(irc.asToken), '_irc_bob', { device_id: 'D' })
    expect([status, body.user_id, body.device_id]).toEqual([200, '@_irc_bob:here.example', 'D'])
    expect((await whoami(home.client.as(body.access_token))).body.user_id).toBe(body.user_id)
    const login = { type: 'm.login.password', user: '_irc_bob', password: '' }
    expect(told(await home.client.post('/login', login))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('makes no session for whom wants none', async () => {
    const { body } = await register(asIrc, '_irc_quiet', { inhibit_login: true })
    expect(body).toEqual({ user_id: '@_irc_quiet:here.example' })
  })

  test('keeps to its namespaces, to names that can be had, and to those that are free', async () => {
    expect(told(await register(asIrc, 'zoe'))).toEqual([400, 'M_EXCLUSIVE'])
    expect(told(await register(asIrc, 'smsbot'))).toEqual([400, 'M_EXCLUSIVE'])
    // Another's namespace is exclusive, though it is in its own, too.
    expect(told(await register(asSms, '_irc_mine'))).toEqual([400, 'M_EXCLUSIVE'])
    expect((await register(asSms, '_sms_mine')).status).toBe(200)
    for (const name of ['_irc_Bob', '_irc_a b', '@_irc_a:far.example'])
      expect([name, ...told(await register(asIrc, name))]).toEqual([
        name,
        400,
        'M_INVALID_USERNAME',
      ])
    expect(told(await register(asIrc, 'ircbot'))).toEqual([400, 'M_USER_IN_USE'])
    expect(told(await register(asIrc, undefined))).toEqual([400, 'M_MISSING_PARAM'])
    expect(told(await register(asIrc, 7))).toEqual([400, 'M_BAD_JSON'])
  })

  test('needs its token', async () => {
    expect(told(await register(home.client, '_irc_x'))).toEqual([401, 'M_MISSING_TOKEN'])
    for (const token of ['nonsense', alice.token])
      expect(told(await register(home.client.as(token), '_irc_x'))).toEqual([
        401,
        'M_UNKNOWN_TOKEN',
      ])
  })

  test('leaves nobody else a name in its exclusive namespaces', async () => {
    const dummy = { password: 'p', auth: { type: 'm.login.dummy' } }
    for (const name of ['_irc_free', '_IRC_Free'])
      for (const answer of [
        await home.client.post('/register', { username: name, ...dummy }),
        await home.client.get(`/register/available?username=${name}`),
        // Its token alone does not make a request its own.
        await asIrc.post('/register', { username: name, ...dummy }),
      ])
        expect(told(answer)).toEqual([400, 'M_EXCLUSIVE'])
    expect((await home.client.post('/register', { username: '_sms_a', ...dummy })).status).toBe(200)
  })
})

describe('logging in a user of an application service', () => {
  const logIn = (client: Client, user: string, more: object = {}) =>
    client.post('/login', {
      type: appserviceLogin,
      identifier: { type: 'm.id.user', user },
      ...more,
    })

  test('is offered where there is one', async () => {
    const { body } = await home.client.get('/login')
    expect(body.flows).toContainEqual({ type: appserviceLogin })
  })

  test('needs no password', async () => {
    const userId = await ghost(asIrc)
    for (const user of [userId, userId.slice(1, userId.indexOf(':'))]) {
      const { body } = await logIn(asIrc, user, { device_id: 'PHONE' })
      expect(body).toMatchObject({ user_id: userId, device_id: 'PHONE' })
      expect((await whoami(home.client.as(body.access_token))).body.user_id).toBe(userId)
    }
    expect((await logIn(asIrc, 'ircbot')).status).toBe(200)
  })

  test('keeps to its namespaces, and to users who are there', async () => {
    for (const user of ['smsbot', '@_irc_a:far.example', '@', '_irc_\0'])
      expect([user, ...told(await logIn(asIrc, user))]).toEqual([user, 403, 'M_EXCLUSIVE'])
    expect(told(await logIn(asIrc, '_irc_nobody'))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('needs its token', async () => {
    const userId = await ghost(asIrc)
    expect(told(await logIn(home.client, userId))).toEqual([401, 'M_MISSING_TOKEN'])
    expect(told(await logIn(alice.client, userId))).toEqual([401, 'M_UNKNOWN_TOKEN'])
  })

  test('ends with the account', async () => {
    const userId = await ghost(asIrc)
    await db.pool`update users set deactivated = true where user_id = ${userId}`
    expect(told(await logIn(asIrc, userId))).toEqual([403, 'M_USER_DEACTIVATED'])
    expect(told(await whoami(asIrc, acting(userId)))).toEqual([403, 'M_USER_DEACTIVATED'])
  })
})
