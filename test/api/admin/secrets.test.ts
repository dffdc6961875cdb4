import { expect, test } from 'bun:test'
import { ops } from '#api/index.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { Home } from '#test/api/client-server/home.ts'
import { testDatabase } from '#test/database.ts'

const db = await testDatabase()
const home = await Home.open(db)
const root = await home.person('root', { admin: true })

const spellings = (token: string): string[] => {
  const hash = Buffer.from(hashToken(token))
  return [token, hash.toString('hex'), hash.toString('base64').replace(/=+$/, '')]
}

test('no call of administrators tells the password or a token of a user, in whatever form', async () => {
  const victim = await home.person('victim')
  const login = { type: 'm.login.password', user: victim.userId, password: 'secret' }
  const { body } = await home.client.post('/login', { ...login, refresh_token: true })
  const secrets = [
    '$argon2',
    ...spellings(body.access_token as string),
    ...spellings(body.refresh_token as string),
  ]
  // They are what they are taken for.
  const [row] = await db.pool<{ dump: string }[]>`
    select string_agg(t::text, '') || (select string_agg(u::text, '') from users u) as dump
    from access_tokens t`
  expect(row!.dump).toContain('$argon2')
  expect(row!.dump).toContain(spellings(body.access_token as string)[1]!)

  const room = await home.story.room(victim.userId)
  const own: Record<string, string> = { userId: victim.userId, roomId: room.roomId }
  const asked: string[] = []
  for (const { method, path, auth } of ops) {
    if (auth !== 'admin' || method !== 'GET' || !path.startsWith('/_')) continue
    const uri = path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(own[name] ?? 'x'))
    const { status, body: answer } = await root.client.get(uri)
    if (status === 200) asked.push(path)
    const text = JSON.stringify(answer ?? '')
    expect({ uri, told: secrets.filter((secret) => text.includes(secret)) }).toEqual({
      uri,
      told: [],
    })
  }
  for (const of of ['/users/:userId/admin', '/whois/:userId', '/users/:userId/devices'])
    expect(asked.some((path) => path.endsWith(of))).toBe(true)
})
