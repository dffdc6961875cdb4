import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')

const brief = ({ status, body }: { status: number; body: { errcode?: string } }) => [
  status,
  body.errcode,
]

describe('relays for calls', () => {
  const path = '/voip/turnServer'

  test('are told with a password of the user, which the relay can check', async () => {
    const uris = ['turn:turn.example:3478?transport=udp']
    const calls = { uris, shared_secret: 'hush', credential_seconds: 600 }
    const { status, body } = await home.under({ calls }).as(alice.token).get(path)
    const username = `${Math.floor(home.now / 1000) + 600}:${alice.userId}`
    const password = createHmac('sha1', 'hush').update(username).digest('base64')
    expect([status, body]).toEqual([200, { username, password, uris, ttl: 600 }])
  })

  test.each([
    [{}],
    [{ calls: { uris: ['turn:turn.example'] } }],
    [{ calls: { shared_secret: 'x' } }],
  ])('are not told where the operator names none, or no secret (%p)', async (config) => {
    const client = home.under(config).as(alice.token)
    expect(brief(await client.get(path))).toEqual([404, 'M_NOT_FOUND'])
  })

  test('are told to nobody who is not logged in', async () => {
    expect(brief(await home.client.get(path))).toEqual([401, 'M_MISSING_TOKEN'])
  })
})

describe('whom to ask', () => {
  const path = '/.well-known/matrix/support'

  test('is told as far as the operator says it', async () => {
    const contacts = [{ role: 'm.role.admin', matrix_id: '@admin:here.example' }]
    const page = 'https://here.example/help'
    expect((await home.under({ support: { contacts } }).get(path)).body).toEqual({ contacts })
    const only = await home.under({ support: { page } }).get(path)
    expect(only.body).toEqual({ support_page: page })
    expect(only.headers.get('access-control-allow-origin')).toBe('*')
    expect(brief(await home.client.get(path))).toEqual([404, 'M_NOT_FOUND'])
  })
})

test('that there is no OAuth is told as the spec wants it', async () => {
  const path = '/_matrix/client/v1/auth_metadata'
  expect(brief(await home.client.get(path))).toEqual([404, 'M_UNRECOGNIZED'])
})

describe('third parties', () => {
  test('are none', async () => {
    const { client } = alice
    expect((await client.get('/thirdparty/protocols')).body).toEqual({})
    expect((await client.get('/thirdparty/location?alias=%23a%3Ahere.example')).body).toEqual([])
    expect((await client.get('/thirdparty/user?userid=%40a%3Ahere.example')).body).toEqual([])
    for (const what of ['protocol', 'location', 'user'])
      expect(brief(await client.get(`/thirdparty/${what}/irc`))).toEqual([404, 'M_NOT_FOUND'])
  })

  test('are asked for by name, by users', async () => {
    for (const what of ['location', 'user'])
      expect((await alice.client.get(`/thirdparty/${what}`)).status).toBe(400)
    const answer = await home.client.get('/thirdparty/protocols')
    expect(brief(answer)).toEqual([401, 'M_MISSING_TOKEN'])
  })
})
