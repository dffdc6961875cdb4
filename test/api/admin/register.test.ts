import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'bun:test'
import { Home } from '#test/api/client-server/home.ts'
import { testDatabase } from '#test/database.ts'

const db = await testDatabase()
const home = await Home.open(db)

describe('registration by shared secret', () => {
  const path = '/_synapse/admin/v1/register'
  const client = home.under({ registration: { shared_secret: 'shh' } })
  const nonce = async () => (await client.get(path)).body.nonce as string
  const macOf = (parts: string[], secret = 'shh') =>
    createHmac('sha1', secret).update(parts.join('\0')).digest('hex')

  test('makes an account, of an administrator too, without registration being open', async () => {
    const one = await nonce()
    const { status, body } = await client.post(path, {
      nonce: one,
      username: 'Ivan',
      password: 'p',
      displayname: 'Ivan the Good',
      admin: true,
      mac: macOf([one, 'Ivan', 'p', 'admin']),
    })
    expect(status).toBe(200)
    expect(body).toMatchObject({ user_id: '@ivan:here.example', home_server: 'here.example' })
    const session = await home.ctx.tokens.find(body.access_token)
    expect(session).toMatchObject({ userId: '@ivan:here.example', admin: true })
    const profile = await client.get('/profile/@ivan:here.example')
    expect(profile.body).toEqual({ displayname: 'Ivan the Good' })
    const user = await nonce()
    const plain = await client.post(path, {
      nonce: user,
      username: 'jane',
      password: 'p',
      mac: macOf([user, 'jane', 'p', 'notadmin']),
    })
    expect(await home.ctx.tokens.find(plain.body.access_token)).toMatchObject({ admin: false })
  })

  test('refuses a nonce twice, a late one, and one that is none', async () => {
    const one = await nonce()
    const ask = (value: string, name: string) =>
      client.post(path, {
        nonce: value,
        username: name,
        password: 'p',
        mac: macOf([value, name, 'p', 'notadmin']),
      })
    expect((await ask(one, 'kim')).status).toBe(200)
    const late = await nonce()
    home.now += 61_000
    for (const value of [one, 'nonsense', late]) {
      const { status, body } = await ask(value, 'lars')
      expect([status, body.errcode]).toEqual([400, 'M_UNKNOWN'])
    }
  })

  test('refuses whoever does not know the secret, or changes what was signed', async () => {
    const forged = async (mac: (nonce: string) => string, more: object = {}) => {
      const value = await nonce()
      const body = { nonce: value, username: 'mallory', password: 'p', mac: mac(value), ...more }
      return client.post(path, body)
    }
    const answers = [
      await forged((n) => macOf([n, 'mallory', 'p', 'notadmin'], 'guess')),
      await forged((n) => macOf([n, 'mallory', 'p', 'notadmin']), { admin: true }),
      await forged((n) => macOf([n, 'mallory', 'p', 'notadmin']).slice(0, 20)),
      await forged(() => 'not hex'),
    ]
    for (const { status, body } of answers)
      expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    const split = await forged((n) => macOf([n, 'a', 'b', 'c', 'notadmin']), {
      username: 'a\0b',
      password: 'c',
    })
    expect(split.status).toBe(400)
  })

  test('is off without a secret', async () => {
    expect((await home.client.get(path)).status).toBe(403)
    const body = { nonce: 'n', username: 'u', password: 'p', mac: '00' }
    expect((await home.client.post(path, body)).status).toBe(403)
  })
})
