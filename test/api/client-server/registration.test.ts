import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const open = home.under({ registration: { enabled: true, dummy: true } })
const dummy = { auth: { type: 'm.login.dummy' } }

describe('registration', () => {
  test('is closed unless the operator opens it, and says that nothing is asked for', async () => {
    const half = [{}, { registration: { enabled: true } }, { registration: { dummy: true } }]
    for (const config of half) {
      const client = home.under(config)
      for (const body of [{}, { username: 'eve', password: 'p', ...dummy }]) {
        const answer = await client.post('/register', body)
        expect([answer.status, answer.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
      }
      expect((await client.get('/register/available?username=eve')).status).toBe(403)
    }
  })

  test('knows no guests', async () => {
    const { status, body } = await open.post('/register?kind=guest', {})
    expect([status, body.errcode]).toEqual([403, 'M_GUEST_ACCESS_FORBIDDEN'])
    expect((await open.post('/register?kind=robot', {})).body.errcode).toBe('M_UNRECOGNIZED')
  })

  test('asks for the dummy stage, and then makes an account with a session', async () => {
    const first = await open.post('/register', { username: 'dora', password: 'p' })
    expect(first.status).toBe(401)
    expect(first.body).toEqual({
      flows: [{ stages: ['m.login.dummy'] }],
      params: {},
      session: expect.any(String),
    })
    const wrong = await open.post('/register', { auth: { type: 'm.login.recaptcha' } })
    expect(wrong.status).toBe(401)
    expect(wrong.body).toMatchObject({ errcode: 'M_UNAUTHORIZED', flows: expect.any(Array) })
    const { body } = await open.post('/register', {
      username: 'dora',
      password: 'p',
      device_id: 'D1',
      auth: { type: 'm.login.dummy', session: first.body.session },
    })
    expect(body).toMatchObject({ user_id: '@dora:here.example', device_id: 'D1' })
    const who = await open.as(body.access_token).get('/account/whoami')
    expect(who.body.user_id).toBe('@dora:here.example')
  })

  test('makes a name up, and gives no session to whom wants none', async () => {
    const { body } = await open.post('/register', { password: 'p', inhibit_login: true, ...dummy })
    expect(body).toEqual({ user_id: expect.stringMatching(/^@[a-z]{12}:here\.example$/) })
  })

  test('gives a name out once, and only one that can be had (Dendrite 0.3.11)', async () => {
    expect((await open.get('/register/available?username=fred')).body).toEqual({ available: true })
    await open.post('/register', { username: 'Fred', password: 'p', ...dummy })
    const taken = [
      await open.get('/register/available?username=fred'),
      await open.get('/register/available?username=FRED'),
      await open.post('/register', { username: 'fred', password: 'p' }),
    ]
    for (const { status, body } of taken)
      expect([status, body.errcode]).toEqual([400, 'M_USER_IN_USE'])
    for (const name of ['', 'a b', 'ä', 'a:b', '@a:far.example', 'x'.repeat(250)]) {
      const { status, body } = await open.get(
        `/register/available?username=${encodeURIComponent(name)}`,
      )
      expect([name, status, body.errcode]).toEqual([name, 400, 'M_INVALID_USERNAME'])
    }
    expect((await open.get('/register/available')).body.errcode).toBe('M_MISSING_PARAM')
  })

  test('of one name by many at once succeeds once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () =>
        open.post('/register', { username: 'gina', password: 'p', ...dummy }),
      ),
    )
    const statuses = answers.map(({ status }) => status).sort((a, b) => a - b)
    expect(statuses).toEqual([200, 400, 400, 400, 400, 400, 400, 400])
  })

  test('needs a password', async () => {
    const without = await open.post('/register', { username: 'hugo', ...dummy })
    expect([without.status, without.body.errcode]).toEqual([400, 'M_MISSING_PARAM'])
    const empty = await open.post('/register', { username: 'hugo', password: '', ...dummy })
    expect([empty.status, empty.body.errcode]).toEqual([400, 'M_WEAK_PASSWORD'])
  })
})
