import { beforeEach, expect, test } from 'bun:test'
import { RateLimits, defaultBudgets } from '#api/http/rate-limit.ts'
import { forbidden } from '#core/error.ts'
import { Client } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { acting, ghost, irc, openBridged } from '#test/api/client-server/bridge.ts'

const db = await testDatabase()
const home = await openBridged(db)
const root = await home.person('root', { admin: true })
const path = (userId: string) => `/_synapse/admin/v1/users/${userId}/override_ratelimit`

let limited: Client
beforeEach(() => {
  limited = Client.of({ ...home.ctx, limits: new RateLimits(defaultBudgets, () => home.now) })
  home.roomAnswers.send = () => {
    throw forbidden('Not for this test')
  }
})

/** How many of some messages come through as far as the room, and what becomes of the others. */
async function messages(token: string, count: number, query = '') {
  const asUser = limited.as(token)
  const sent = Array.from({ length: count }, (_, index) =>
    asUser.put(`/rooms/!r:here.example/send/m.x/${crypto.randomUUID()}${index}${query}`, {}),
  )
  const statuses = (await Promise.all(sent)).map(({ status }) => status)
  return [403, 429].map((status) => statuses.filter((each) => each === status).length)
}

const { burst } = defaultBudgets.message
const { burst: lookups } = defaultBudgets.lookup

test('a user may send as much as an administrator says, and then as much as everybody', async () => {
  const { userId, token } = await home.person('bot')
  const other = await home.person('other')
  expect((await root.client.get(path(userId))).body).toEqual({})
  const own = { messages_per_second: 2, burst_count: burst + 20 }
  expect((await root.client.post(path(userId), own)).body).toEqual(own)
  expect((await root.client.get(path(userId))).body).toEqual(own)
  expect(await messages(token, burst + 25)).toEqual([burst + 20, 5])
  expect(await messages(other.token, burst + 5)).toEqual([burst, 5])
  home.now += 1000
  expect(await messages(token, 5)).toEqual([2, 3])
  // Fewer than everybody, too; and it holds at once.
  await root.client.post(path(userId), { messages_per_second: 1, burst_count: 0 })
  home.now += 3_600_000
  expect(await messages(token, 3)).toEqual([1, 2])
  expect((await root.client.delete(path(userId))).body).toEqual({})
  expect((await root.client.get(path(userId))).body).toEqual({})
  home.now += 3_600_000
  expect(await messages(token, burst + 5)).toEqual([burst, 5])
})

test('none a second is no limit, of anything; what is not messages is limited as ever without it', async () => {
  const { userId, token } = await home.person('bot')
  const asked = async () => {
    const user = limited.as(token)
    const all = Array.from({ length: lookups + 1 }, () =>
      user.get('/rooms/!r:here.example/aliases'),
    )
    return (await Promise.all(all)).filter(({ status }) => status === 429).length
  }
  await root.client.post(path(userId), { messages_per_second: 1000, burst_count: 1000 })
  expect(await asked()).toBe(1)
  expect((await root.client.post(path(userId))).body).toEqual({
    messages_per_second: 0,
    burst_count: 0,
  })
  expect(await asked()).toBe(0)
  expect(await messages(token, burst + 5)).toEqual([burst + 5, 0])
})

test('it holds for users whom application services act as', async () => {
  const userId = await ghost(home.client.as(irc.asToken))
  const query = acting(userId)
  expect(await messages(irc.asToken, burst + 5, query)).toEqual([burst, 5])
  await root.client.post(path(userId), {})
  expect(await messages(irc.asToken, burst + 5, query)).toEqual([burst + 5, 0])
})

test('nonsense is refused, and only administrators say so', async () => {
  const { userId, client } = await home.person('cheat')
  for (const body of [
    { messages_per_second: -1 },
    { messages_per_second: 'many' },
    { burst_count: 1.5 },
    { burst_count: 1e12 },
  ])
    expect(await root.client.post(path(userId), body)).toMatchObject({
      status: 400,
      body: { errcode: 'M_BAD_JSON' },
    })
  expect((await root.client.get(path(userId))).body).toEqual({})
  expect((await root.client.post(path('@none:here.example'))).status).toBe(404)
  expect((await root.client.post(path('@a:far.example'))).status).toBe(400)
  for (const answer of [
    await client.post(path(userId), {}),
    await client.delete(path(userId)),
    await client.get(path(userId)),
  ])
    expect(answer).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } })
})
