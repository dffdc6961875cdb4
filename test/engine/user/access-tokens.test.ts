import { expect, test } from 'bun:test'
import { AccessTokens, hashToken } from '#engine/user/access-tokens.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { Sql } from '#store/db.ts'
import { testDatabase } from '#test/database.ts'

const db = await testDatabase()
const users = new UserShards(db.pool, { onCommit: () => {} })

let count = 0
async function loggedIn(deviceId = 'D') {
  const userId = `@u${++count}:test`
  const token = crypto.randomUUID()
  await users.call('createUser', userId, { admin: count % 2 === 0, createdAt: 1 })
  await users.call('createSession', userId, { deviceId, tokenHash: hashToken(token), createdAt: 1 })
  return { userId, token, deviceId, admin: count % 2 === 0 }
}

test('a token is looked up once, and then known without a wait', async () => {
  const tokens = new AccessTokens(db.pool)
  const { token, ...session } = await loggedIn()
  expect(await tokens.find(token)).toEqual(session)
  expect(tokens.find(token)).toEqual(session)
  expect(await tokens.find('another')).toBeUndefined()
  expect(await tokens.find('')).toBeUndefined()
})

test('the database holds no token', async () => {
  const { token, userId } = await loggedIn()
  const [row] = await db.pool`select token_hash from access_tokens where user_id = ${userId}`
  expect(Buffer.from(row!['token_hash'] as Uint8Array).toString()).not.toContain(token)
})

test('what is forgotten is looked up again', async () => {
  const tokens = new AccessTokens(db.pool)
  const { token, userId } = await loggedIn()
  await tokens.find(token)
  await users.call('endSession', userId, 'D')
  tokens.forget(userId, 'OTHER')
  expect(tokens.find(token)).not.toBeInstanceOf(Promise)
  tokens.forget(userId, 'D')
  expect(await tokens.find(token)).toBeUndefined()
})

test('a look-up that began before a logout does not bring the session back', async () => {
  const { token, userId } = await loggedIn()
  const answered = Promise.withResolvers<void>()
  // The database has answered, and the answer is on its way.
  const slow = (async (...args: Parameters<Sql>) => {
    const rows = await db.pool(...args)
    await answered.promise
    return rows
  }) as unknown as Sql
  const tokens = new AccessTokens(slow)
  const early = tokens.find(token)
  await Bun.sleep(20)
  await users.call('endAllSessions', userId)
  tokens.forget(userId)
  answered.resolve()
  // That request was under way; the next one is not let in.
  expect(await early).toBeDefined()
  expect(await tokens.find(token)).toBeUndefined()
})

test('a deactivated account has no sessions (CVE-2023-32682, continuwuity SEC16)', async () => {
  const { token, userId } = await loggedIn()
  await db.pool`update users set deactivated = true where user_id = ${userId}`
  expect(await new AccessTokens(db.pool).find(token)).toBeUndefined()
})

test('it is noted, but not at each request, when and from where a device was used', async () => {
  const tokens = new AccessTokens(db.pool)
  const { token, userId } = await loggedIn()
  const session = (await tokens.find(token))!
  const seen = async () => {
    await tokens.flush()
    const [row] = await db.pool<{ last_seen_at: number | null; last_seen_ip: string | null }[]>`
      select last_seen_at, last_seen_ip from devices where user_id = ${userId}`
    return [row!.last_seen_at, row!.last_seen_ip]
  }
  expect(await seen()).toEqual([null, null])
  tokens.sight(session, 1000, () => '1.1.1.1')
  tokens.sight(session, 2000, () => '2.2.2.2')
  expect(await seen()).toEqual([1000, '1.1.1.1'])
  tokens.sight(session, 61_000, () => '3.3.3.3')
  expect(await seen()).toEqual([61_000, '3.3.3.3'])
})

test('whoever waits for the notes waits for those that are being written', async () => {
  const { token } = await loggedIn()
  const answered = Promise.withResolvers<void>()
  let isHeld = false
  const slow = (async (...args: Parameters<Sql>) => {
    const rows = await db.pool(...args)
    if (isHeld) await answered.promise
    return rows
  }) as unknown as Sql
  const tokens = new AccessTokens(slow)
  const session = (await tokens.find(token))!
  isHeld = true
  tokens.sight(session, 1000, () => '1.1.1.1')
  let isWritten = false
  const writing = tokens.flush()
  const end = tokens.flush().then(() => (isWritten = true))
  await Bun.sleep(0)
  expect(isWritten).toBe(false)
  answered.resolve()
  await Promise.all([writing, end])
})

test('that it cannot be noted is told, and harms no request', async () => {
  const faults: unknown[] = []
  const away = (() => Promise.reject(new Error('away'))) as unknown as Sql
  const tokens = new AccessTokens(away, { onFault: (error) => faults.push(error) })
  tokens.sight({ userId: '@a:test', deviceId: 'D', admin: false }, 1, () => '1.1.1.1')
  await tokens.flush()
  expect(faults).toHaveLength(1)
})
