import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { Bridging, openListener, registered } from './bridging.ts'

const db = await testDatabase()
const listener = openListener()
const irc = registered('irc', listener.url, { 'org.matrix.msc3202': true })
const bridging = await Bridging.open(db, [irc])
const { home } = bridging
const alice = await home.person('alice')
const ghost = await bridging.ghost(irc, 'ghost')
const asIrc = home.client.as(irc.asToken)
const acting = `?user_id=${encodeURIComponent(ghost)}`
const onDevice = `${acting}&device_id=BRIDGE`

type Counts = Record<string, Record<string, Record<string, number>>>
type Message = { type: string; sender: string; to_user_id: string; to_device_id: string }
const messages = () => listener.all<Message>('de.sorunome.msc2409.to_device')
const listsOf = (kind: 'changed' | 'left') =>
  listener.transactions.flatMap(
    ({ body }) => (body['org.matrix.msc3202.device_lists']?.[kind] ?? []) as string[],
  )
const lastCount = () => {
  const told = listener.transactions.flatMap(({ body }) => {
    const counts = body['org.matrix.msc3202.device_one_time_keys_count'] as Counts
    return counts[ghost]?.['BRIDGE'] ? [counts[ghost]['BRIDGE']] : []
  })
  return told.at(-1)?.['signed_curve25519']
}
const lastFallbacks = () =>
  listener.transactions
    .flatMap(({ body }) => {
      const types = body['org.matrix.msc3202.device_unused_fallback_key_types'] as Record<
        string,
        Record<string, string[]>
      >
      return types[ghost]?.['BRIDGE'] ? [types[ghost]['BRIDGE']] : []
    })
    .at(-1)

const deviceKeys = (userId: string, deviceId: string) => ({
  user_id: userId,
  device_id: deviceId,
  algorithms: ['m.olm.v1.curve25519-aes-sha2'],
  keys: { [`ed25519:${deviceId}`]: 'A'.repeat(43), [`curve25519:${deviceId}`]: 'B'.repeat(43) },
  signatures: {},
})
const key = (name: string) => ({
  [`signed_curve25519:${name}`]: { key: 'C'.repeat(43), signatures: {} },
})

test('an application service makes a device, uploads keys on it, and hears what is left of them', async () => {
  expect((await asIrc.put(`/devices/BRIDGE${acting}`, { display_name: 'Bridge' })).status).toBe(201)
  const uploaded = await asIrc.post(`/keys/upload${onDevice}`, {
    device_keys: deviceKeys(ghost, 'BRIDGE'),
    one_time_keys: { ...key('AAAA'), ...key('AAAB') },
    fallback_keys: {
      'signed_curve25519:FALL': { key: 'D'.repeat(43), fallback: true, signatures: {} },
    },
  })
  expect(uploaded.body).toEqual({ one_time_key_counts: { signed_curve25519: 2 } })
  await until(() => lastCount() === 2 && lastFallbacks()?.[0] === 'signed_curve25519')
  const claim = () =>
    alice.client.post('/keys/claim', {
      one_time_keys: { [ghost]: { BRIDGE: 'signed_curve25519' } },
    })
  await claim()
  await until(() => lastCount() === 1)
  await claim()
  await claim()
  await until(() => lastCount() === 0 && lastFallbacks()?.length === 0)
})

test('messages to the devices of its users are sent to it, each once, and leave nothing behind', async () => {
  const send = (deviceId: string, text: string) =>
    alice.client.put(`/sendToDevice/m.test/${text}`, {
      messages: { [ghost]: { [deviceId]: { text } } },
    })
  await send('BRIDGE', 'one')
  await until(() => messages().length > 0)
  expect(messages()).toEqual([
    {
      type: 'm.test',
      sender: alice.userId,
      content: { text: 'one' },
      to_user_id: ghost,
      to_device_id: 'BRIDGE',
    } as Message,
  ])
  // Over a transaction that fails, and over the end of a run.
  listener.take = () => new Response('', { status: 500 })
  const before = listener.transactions.length
  await send('BRIDGE', 'two')
  await until(() => listener.transactions.length > before)
  const { txnId } = listener.transactions.at(-1)!
  await send('*', 'three')
  await bridging.followed()
  await bridging.bridges.stop()
  listener.take = () => Response.json({})
  await bridging.start()
  await bridging.later(() => messages().some((each) => (each as any).content.text === 'three'))
  const texts = listener.transactions
    .slice(before)
    .filter((each, at, all) => all.findIndex((other) => other.txnId === each.txnId) === at)
    .flatMap(({ body }) => body['de.sorunome.msc2409.to_device'] as { content: { text: string } }[])
    .map(({ content }) => content.text)
  expect(texts).toEqual(['two', 'three'])
  expect(listener.transactions.filter((each) => each.txnId === txnId).length).toBeGreaterThan(1)
  expect((await db.pool`select from to_device`).length).toBe(0)
})

test('it hears of changed devices of those it shares a room with, and of who shares none any more', async () => {
  const room = await home.story.room(alice.userId)
  const stranger = await home.person('stranger')
  await room.member(ghost, 'join')
  await bridging.followed()
  for (const who of [stranger, alice])
    await who.client.post('/keys/upload', { device_keys: deviceKeys(who.userId, who.deviceId) })
  await until(() => listsOf('changed').includes(alice.userId))
  expect(listsOf('changed')).not.toContain(stranger.userId)
  await room.member(stranger.userId, 'join')
  await until(() => listsOf('changed').includes(stranger.userId))
  expect(listsOf('left')).toEqual([])
  await room.member(stranger.userId, 'leave')
  await until(() => listsOf('left').includes(stranger.userId))
})

test('it hears of all who are in an encrypted room when the first user of it comes, and when a room is encrypted', async () => {
  const [member, plain, later] = [
    await home.person('member'),
    await home.person('plain'),
    await home.person('later'),
  ]
  const encryption = { algorithm: 'm.megolm.v1.aes-sha2' }
  const secret = await home.story.room(member.userId)
  await secret.state(member.userId, 'm.room.encryption', '', encryption)
  const open = await home.story.room(plain.userId)
  await open.member(ghost, 'join')
  const turning = await home.story.room(later.userId)
  await turning.member(ghost, 'join')
  await bridging.followed()
  await secret.member(ghost, 'join')
  await until(() => listsOf('changed').includes(member.userId))
  // In a room without encryption nobody needs to know of devices.
  for (const { userId } of [plain, later]) expect(listsOf('changed')).not.toContain(userId)
  await turning.state(later.userId, 'm.room.encryption', '', encryption)
  await until(() => listsOf('changed').includes(later.userId))
  expect(listsOf('changed')).not.toContain(plain.userId)
  // The second of its users brings nothing new.
  const count = () => listsOf('changed').filter((id) => id === member.userId).length
  const before = count()
  const second = await bridging.ghost(irc, 'second')
  await secret.member(second, 'join')
  await secret.send(second, 'after')
  await until(() => listener.texts.includes('after'))
  await bridging.followed()
  expect(count()).toBe(before)
})

test('it removes devices, and replaces keys of its users, without proving who it is', async () => {
  const keys = {
    master_key: {
      user_id: ghost,
      usage: ['master'],
      keys: { [`ed25519:${'E'.repeat(43)}`]: 'E'.repeat(43) },
    },
  }
  for (const part of ['E', 'F']) {
    const { master_key: master } = keys
    const body = {
      master_key: {
        ...master,
        keys: { [`ed25519:${part.repeat(42)}A`]: `${part.repeat(42)}A` },
      },
    }
    expect(await asIrc.post(`/keys/device_signing/upload${acting}`, body)).toMatchObject({
      status: 200,
    })
  }
  await asIrc.put(`/devices/OTHER${acting}`, {})
  expect((await asIrc.delete(`/devices/BRIDGE${acting}`, {})).status).toBe(200)
  expect((await asIrc.post(`/delete_devices${acting}`, { devices: ['OTHER'] })).status).toBe(200)
  expect((await asIrc.get(`/devices${acting}`)).body).toEqual({ devices: [] })
})
