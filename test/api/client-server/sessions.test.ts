import { describe, expect, test } from 'bun:test'
import type { Answer } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const outcome = ({ status, body }: Answer) => [status, body.errcode]

const byPassword = (userId: string, more: object = {}) => ({
  type: 'm.login.password',
  user: userId,
  password: 'secret',
  ...more,
})
const logIn = (userId: string, more: object = {}) =>
  home.client.post('/login', byPassword(userId, more))
const refresh = (token: unknown) => home.client.post('/refresh', { refresh_token: token })
const whoami = (token: string) => home.client.as(token).get('/account/whoami')
const gone = [401, 'M_UNKNOWN_TOKEN']

describe('refresh tokens', () => {
  const begin = async () => {
    const { userId } = await home.person('ruth')
    const { body } = await logIn(userId, { refresh_token: true })
    return { userId, ...(body as Record<'access_token' | 'refresh_token' | 'device_id', string>) }
  }

  test('come with a token that ends, and replace both', async () => {
    const first = await begin()
    expect(first).toHaveProperty('expires_in_ms', 300_000)
    home.now += 300_000
    const late = await whoami(first.access_token)
    expect([...outcome(late), late.body.soft_logout]).toEqual([...gone, true])
    const { body } = await refresh(first.refresh_token)
    expect(body.expires_in_ms).toBe(300_000)
    expect((await whoami(body.access_token)).body).toMatchObject({ device_id: first.device_id })
    const { access_token: again } = (await refresh(body.refresh_token)).body
    expect((await whoami(again)).status).toBe(200)
  })

  test('are good until what they gave is used, and refused when used twice', async () => {
    const first = await begin()
    const lost = (await refresh(first.refresh_token)).body
    const kept = (await refresh(first.refresh_token)).body
    // The answer that got lost gave nothing in the end.
    expect(outcome(await whoami(lost.access_token))).toEqual(gone)
    expect(outcome(await refresh(lost.refresh_token))).toEqual(gone)
    // The old access token is good until the new one is used.
    expect((await whoami(first.access_token)).status).toBe(200)
    expect((await whoami(kept.access_token)).status).toBe(200)
    expect(outcome(await refresh(first.refresh_token))).toEqual(gone)
    expect(outcome(await whoami(first.access_token))).toEqual(gone)
  })

  test('are used by refreshing again, too', async () => {
    const first = await begin()
    const second = (await refresh(first.refresh_token)).body
    const third = (await refresh(second.refresh_token)).body
    expect(outcome(await refresh(first.refresh_token))).toEqual(gone)
    expect(outcome(await whoami(first.access_token))).toEqual(gone)
    expect((await whoami(third.access_token)).status).toBe(200)
    expect(outcome(await refresh(second.refresh_token))).toEqual(gone)
  })

  test('keep the transactions of their device', async () => {
    const first = await begin()
    const message = { messages: { [first.userId]: { [first.device_id]: { n: 1 } } } }
    const send = (token: string) => home.client.as(token).put('/sendToDevice/m.test/1', message)
    await send(first.access_token)
    const { access_token: token } = (await refresh(first.refresh_token)).body
    expect((await send(token)).status).toBe(200)
    const { body } = await home.client.as(token).get('/sync?timeout=0')
    expect(body.to_device.events).toEqual([
      { type: 'm.test', sender: first.userId, content: { n: 1 } },
    ])
  })

  test('used by many at once leave one session', async () => {
    const first = await begin()
    const answers = await Promise.all(Array.from({ length: 6 }, () => refresh(first.refresh_token)))
    const tokens = answers.filter(({ status }) => status === 200).map(({ body }) => body)
    const good = []
    for (const { access_token } of tokens)
      if ((await whoami(access_token)).status === 200) good.push(access_token)
    expect(good).toHaveLength(1)
  })

  test('end with their device', async () => {
    const first = await begin()
    await home.client.as(first.access_token).post('/logout')
    expect(outcome(await refresh(first.refresh_token))).toEqual(gone)
    const second = await begin()
    await logIn(second.userId, { device_id: second.device_id })
    expect(outcome(await refresh(second.refresh_token))).toEqual(gone)
  })

  test('that were made up, or are no texts, are refused', async () => {
    for (const token of ['x', '', '\0']) expect(outcome(await refresh(token))).toEqual(gone)
    expect(outcome(await refresh(7))).toEqual([400, 'M_BAD_JSON'])
    const { access_token: access } = await begin()
    expect(outcome(await refresh(access))).toEqual(gone)
  })

  test('are given to none who does not ask, whose token lasts as the operator says', async () => {
    const { userId } = await home.person('ruth')
    expect(Object.keys((await logIn(userId)).body).sort()).toEqual([
      'access_token',
      'device_id',
      'user_id',
    ])
    const short = home.under({ sessions: { token_seconds: 60 } })
    const { body } = await short.post('/login', byPassword(userId))
    expect(body.expires_in_ms).toBe(60_000)
    home.now += 60_000
    const late = await whoami(body.access_token)
    expect([...outcome(late), late.body.soft_logout]).toEqual([...gone, true])
  })
})

describe('login tokens', () => {
  const path = '/_matrix/client/v1/login/get_token'
  const byToken = (token: unknown) => home.client.post('/login', { type: 'm.login.token', token })

  test('log in once, for two minutes', async () => {
    const { client, userId } = await home.person('tina')
    const make = async () =>
      (await client.post(path, { auth: byPassword(userId) })).body.login_token as string
    const token = await make()
    expect((await byToken(token)).body.user_id).toBe(userId)
    expect(outcome(await byToken(token))).toEqual([403, 'M_FORBIDDEN'])
    const late = await make()
    home.now += 120_000
    expect(outcome(await byToken(late))).toEqual([403, 'M_FORBIDDEN'])
    const raced = await make()
    const answers = await Promise.all(Array.from({ length: 6 }, () => byToken(raced)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })

  test('that were made up are refused', async () => {
    for (const token of ['x', '', '\0'])
      expect(outcome(await byToken(token))).toEqual([403, 'M_FORBIDDEN'])
    expect(outcome(await byToken(undefined))).toEqual([400, 'M_MISSING_PARAM'])
  })
})

describe('OpenID tokens', () => {
  const userinfo = (token: string) =>
    home.client.get(`/_matrix/federation/v1/openid/userinfo?access_token=${token}`)

  test('tell others who somebody is, for an hour, and nothing more', async () => {
    const { client, userId } = await home.person('olga')
    const { body } = await client.post(`/user/${userId}/openid/request_token`)
    expect(body).toMatchObject({
      token_type: 'Bearer',
      matrix_server_name: 'here.example',
      expires_in: 3600,
    })
    expect((await userinfo(body.access_token)).body).toEqual({ sub: userId })
    expect(outcome(await whoami(body.access_token))).toEqual(gone)
    home.now += 3600_000
    expect(outcome(await userinfo(body.access_token))).toEqual(gone)
  })

  test('are the user’s own, and no access token will do', async () => {
    const [olga, otto] = [await home.person('olga'), await home.person('otto')]
    const stolen = await otto.client.post(`/user/${olga.userId}/openid/request_token`)
    expect(outcome(stolen)).toEqual([403, 'M_FORBIDDEN'])
    expect(outcome(await userinfo(olga.token))).toEqual(gone)
  })
})
