import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const anybody = await home.person('anybody')
const path = '/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device'

async function put(by: Person, deviceId: string, more: object = {}) {
  const device = new Device({ userId: by.userId, deviceId })
  const answer = await by.client.put(path, {
    device_id: deviceId,
    device_data: { algorithm: 'x', secret: deviceId },
    device_keys: { ...device.keys },
    one_time_keys: device.oneTimeKeys(2),
    fallback_keys: device.fallbackKey(),
    ...more,
  })
  return [answer.status, answer.body.errcode ?? answer.body.device_id]
}
const devicesOf = async (userId: string) => {
  const { body } = await anybody.client.post('/keys/query', { device_keys: { [userId]: [] } })
  return Object.keys(body.device_keys[userId]).toSorted()
}

test('a dehydrated device is seen as any other, and one takes the place of the one before', async () => {
  const alice = await home.person('alice')
  expect((await alice.client.get(path)).body.errcode).toBe('M_NOT_FOUND')
  expect(await put(alice, 'DRY')).toEqual([200, 'DRY'])
  expect((await alice.client.get(path)).body).toEqual({
    device_id: 'DRY',
    device_data: { algorithm: 'x', secret: 'DRY' },
  })
  expect(await devicesOf(alice.userId)).toEqual(['DRY'])
  const claimed = await alice.client.post('/keys/claim', {
    one_time_keys: { [alice.userId]: { DRY: 'signed_curve25519' } },
  })
  expect(claimed.body.one_time_keys[alice.userId].DRY).toBeDefined()
  expect(await put(alice, 'DRIER')).toEqual([200, 'DRIER'])
  expect(await devicesOf(alice.userId)).toEqual(['DRIER'])
  expect((await alice.client.delete(path)).body).toEqual({ device_id: 'DRIER' })
  expect(await devicesOf(alice.userId)).toEqual([])
  expect((await alice.client.delete(path)).body.errcode).toBe('M_NOT_FOUND')
  const left = await db.pool`select from one_time_keys where user_id = ${alice.userId}`
  expect(left).toHaveLength(0)
})

test('it gets messages, which are read page by page, and again after a failure', async () => {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  await put(alice, 'DRY')
  for (let n = 0; n < 130; n++)
    await home.ctx.users.call('deliverToDevice', alice.userId, {
      sender: bob.userId,
      type: 'm.test',
      messages: [['DRY', `{"n":${n}}`]],
    })
  const events = `${path}/DRY/events`
  type Page = { events: { content: { n: number } }[]; next_batch?: string }
  const numbers = ({ events: list }: Page) => list.map(({ content }) => content.n)
  for (let round = 0; round < 2; round++) {
    const first = (await alice.client.get(events)).body as Page
    expect(numbers(first)).toEqual(Array.from({ length: 100 }, (_, n) => n))
    const second = (await alice.client.get(`${events}?from=${first.next_batch}`)).body as Page
    expect(numbers(second)).toEqual(Array.from({ length: 30 }, (_, n) => n + 100))
    expect(second.next_batch).toBeUndefined()
  }
  const pages: number[] = []
  for (let next: string | undefined, page: Page | undefined; page?.events.length !== 0;) {
    page = (await alice.client.post(events, { next_batch: next })).body as Page
    next = page.next_batch
    pages.push(page.events.length)
  }
  expect(pages).toEqual([100, 30, 0])
  for (const bad of [`${path}/OTHER/events`, `${path}/${bob.deviceId}/events`])
    expect((await alice.client.get(bad)).body.errcode).toBe('M_NOT_FOUND')
  expect((await alice.client.get(`${events}?from=x`)).body.errcode).toBe('M_INVALID_PARAM')
  expect((await bob.client.get(events)).body.errcode).toBe('M_NOT_FOUND')
})

test('it has a name of its own, and keys that are its own', async () => {
  const alice = await home.person('alice')
  expect(await put(alice, alice.deviceId)).toEqual([403, 'M_FORBIDDEN'])
  const other = new Device(await home.person('bob'))
  expect(await put(alice, 'DRY', { device_keys: other.keys })).toEqual([400, 'M_INVALID_PARAM'])
  const eve = new Device({ userId: alice.userId, deviceId: 'DRY' })
  for (const signer of [eve, other])
    expect(await put(alice, 'DRY', { one_time_keys: signer.oneTimeKeys(1) })).toEqual([
      400,
      'M_INVALID_SIGNATURE',
    ])
  expect(await put(alice, 'DRY', { device_data: 'text' })).toEqual([400, 'M_BAD_JSON'])
})
