import { afterAll, beforeAll, expect, test } from 'bun:test'
import { rm } from 'node:fs/promises'
import { makeCertificates } from '../certificates.ts'
import { Laneway, type Login, freePorts } from '../laneway.ts'
import { until } from '../until.ts'
import { openFolder } from './folder.ts'
import { MautrixBridge, mautrixVenv, registrationOf } from './mautrix.ts'

/**
 * What a bridge does all day, with the library that most of them stand on: mautrix, its application service
 * and its intents. Each test goes on where the one before ended.
 */
let directory: string
let laneway: Laneway
let bridge: MautrixBridge
let startBridge: () => Promise<MautrixBridge>
let alice: Login
let ghost: string
let room: string

beforeAll(async () => {
  directory = await openFolder('bridge')
  const venv = await mautrixVenv()
  const [tls, client, port] = await freePorts(3)
  const registration = `${directory}/registration.yaml`
  laneway = await Laneway.prepare(`${directory}/laneway`, {
    ports: { tls: tls!, client: client! },
    certificates: await makeCertificates(`${directory}/certificates`),
    appservices: [registration],
  })
  const { serverName, clientUrl: homeserver } = laneway
  await Bun.write(registration, registrationOf(`http://127.0.0.1:${port}`, serverName))
  await laneway.start()
  const log = `${directory}/bridge.log`
  startBridge = () => MautrixBridge.start({ venv, port: port!, homeserver, serverName, log })
  bridge = await startBridge()
  alice = await laneway.register('alice')
  ghost = `@_mautrix_bob:${serverName}`
})

afterAll(async () => {
  await bridge?.stop()
  await laneway?.stop()
  if (process.env['LANEWAY_INTEROP_KEEP']) console.log(`kept: ${directory}`)
  else await rm(directory, { recursive: true, force: true })
})

const client = '/_matrix/client/v3'
const inRoom = (rest: string) => `${client}/rooms/${encodeURIComponent(room)}/${rest}`
let count = 0
const say = async (body: string): Promise<string> => {
  const content = { msgtype: 'm.text', body }
  const path = inRoom(`send/m.room.message/${++count}`)
  return (await alice.ask<{ event_id: string }>('PUT', path, content)).event_id
}

test('the bridge and the server reach each other', async () => {
  expect(await bridge.do<number>({ what: 'ping' })).toBeGreaterThanOrEqual(0)
})

test('a ghost is registered, named, and invites somebody to its room', async () => {
  expect(await bridge.do<string>({ what: 'register', who: ghost })).toBe(ghost)
  await bridge.do({ what: 'name', who: ghost, name: 'Bob (IRC)' })
  room = await bridge.do<string>({ what: 'create', who: ghost, invitees: [alice.userId] })
  await alice.ask('POST', inRoom('join'), {})
  expect(await bridge.do<string[]>({ what: 'members', who: ghost, room })).toEqual(
    [alice.userId, ghost].sort(),
  )
})

test('what happens in the room comes to the bridge, in order', async () => {
  const ids: string[] = []
  for (let index = 0; index < 20; index++) ids.push(await say(`message ${index}`))
  const heard = () =>
    bridge.events('m.room.message').filter((event) => event['sender'] === alice.userId)
  await until(() => heard().length >= 20)
  expect(heard().map((event) => event['event_id'])).toEqual(ids)
  expect(heard()[0]).toMatchObject({ room_id: room, content: { body: 'message 0' } })
  const types = bridge.heard.flatMap(({ event }) =>
    event?.['room_id'] === room ? [event['type'] as string] : [],
  )
  expect(types[0]).toBe('m.room.create')
})

test('what a ghost says has the time that the bridge gives it', async () => {
  const event = await bridge.do<string>({
    what: 'send',
    who: ghost,
    room,
    text: 'from 2021',
    ts: 1_620_000_000_000,
  })
  await bridge.do({ what: 'topic', who: ghost, room, topic: 'old', ts: 1_620_000_001_000 })
  const seen = await alice.get<{ origin_server_ts: number; sender: string }>(
    inRoom(`event/${encodeURIComponent(event)}`),
  )
  expect(seen).toMatchObject({ origin_server_ts: 1_620_000_000_000, sender: ghost })
  await until(() => bridge.events('m.room.topic').length > 0)
  expect(bridge.events('m.room.topic')[0]!['origin_server_ts']).toBe(1_620_000_001_000)
})

test('the bridge hears who types, who has read what, and who is there', async () => {
  const event = await say('read me')
  await alice.ask('PUT', inRoom(`typing/${alice.userId}`), { typing: true, timeout: 20_000 })
  await until(() =>
    bridge.events('m.typing').some((each) => each['content'].user_ids.includes(alice.userId)),
  )
  await bridge.do({ what: 'read', who: ghost, room, event })
  await alice.ask('POST', inRoom(`receipt/m.read/${encodeURIComponent(event)}`), {})
  await until(() => {
    const users = bridge
      .events('m.receipt')
      .flatMap((each) => Object.keys(each['content'][event]?.['m.read'] ?? {}))
    return users.includes(alice.userId)
  })
  await alice.ask('PUT', `${client}/presence/${alice.userId}/status`, {
    presence: 'online',
    status_msg: 'here',
  })
  await until(() => bridge.events('m.presence').some((each) => each['sender'] === alice.userId))
  await bridge.do({ what: 'typing', who: ghost, room, ms: 10_000 })
})

test('messages to the devices of a ghost come to the bridge, and what is left of its keys', async () => {
  const acting = `user_id=${encodeURIComponent(ghost)}`
  const ask = async (method: string, path: string, body: object) => {
    const response = await fetch(`${laneway.clientUrl}${client}${path}`, {
      method,
      headers: { authorization: 'Bearer as-secret' },
      body: JSON.stringify(body),
    })
    expect([path, response.ok, response.ok ? '' : await response.text()]).toEqual([path, true, ''])
  }
  await ask('PUT', `/devices/BRIDGE?${acting}`, { display_name: 'Bridge' })
  await ask('POST', `/keys/upload?${acting}&device_id=BRIDGE`, {
    device_keys: {
      user_id: ghost,
      device_id: 'BRIDGE',
      algorithms: ['m.olm.v1.curve25519-aes-sha2'],
      keys: { 'ed25519:BRIDGE': 'A'.repeat(43), 'curve25519:BRIDGE': 'B'.repeat(43) },
      signatures: {},
    },
    one_time_keys: { 'signed_curve25519:AAAA': { key: 'C'.repeat(43), signatures: {} } },
  })
  await until(() =>
    bridge.heard.some(({ counts }) => counts?.[ghost]?.['BRIDGE']?.['signed_curve25519'] === 1),
  )
  await alice.ask('PUT', `${client}/sendToDevice/m.dummy/1`, {
    messages: { [ghost]: { BRIDGE: { hello: 'bridge' } } },
  })
  await until(() => bridge.heard.some(({ to_device: message }) => message !== undefined))
  expect(bridge.heard.find(({ to_device: message }) => message)!.to_device).toMatchObject({
    type: 'm.dummy',
    sender: alice.userId,
    to_user_id: ghost,
    to_device_id: 'BRIDGE',
  })
  await until(() => bridge.heard.some(({ lists }) => lists?.changed.includes(ghost)))
})

test('whom nobody knows yet, and what room, the bridge makes', async () => {
  const { serverName } = laneway
  const asked = `@_mautrix_asked:${serverName}`
  expect(await alice.get<object>(`${client}/profile/${asked}`)).toBeDefined()
  await alice.ask('POST', inRoom('invite'), { user_id: `@_mautrix_asked2:${serverName}` })
  await until(() =>
    bridge.events('m.room.member').some((each) => each['state_key'].includes('asked2')),
  )
  const alias = encodeURIComponent(`#_mautrix_asked:${serverName}`)
  const { room_id: made } = await alice.ask<{ room_id: string }>(
    'POST',
    `${client}/join/${alias}`,
    {},
  )
  expect(made).toStartWith('!')
  expect(
    (await alice.request('GET', `${client}/profile/@_mautrix_unknown:${serverName}`)).status,
  ).toBe(404)
})

test('nobody else takes a name or an alias that is the bridge’s', async () => {
  const { serverName } = laneway
  const mine = await laneway.register('_mautrix_mine').catch((error: unknown) => String(error))
  expect(mine).toContain('M_EXCLUSIVE')
  const alias = encodeURIComponent(`#_mautrix_mine:${serverName}`)
  const put = await alice.request('PUT', `${client}/directory/room/${alias}`, { room_id: room })
  expect([put.status, await put.json()]).toEqual([
    400,
    expect.objectContaining({ errcode: 'M_EXCLUSIVE' }),
  ])
  // The bridge itself makes names there, and none elsewhere.
  expect(await bridge.do<string>({ what: 'register', who: `@_mautrix_mine:${serverName}` })).toBe(
    `@_mautrix_mine:${serverName}`,
  )
  const foreign = await bridge
    .do({ what: 'register', who: `@somebody:${serverName}` })
    .catch((error: unknown) => String(error))
  expect(foreign).toContain('MExclusive')
})

test('what was sent while the bridge was away comes when it is back, in order', async () => {
  await bridge.stop()
  const texts = Array.from({ length: 7 }, (_, at) => `away ${at}`)
  for (const text of texts) await say(text)
  bridge = await startBridge()
  expect(await bridge.do<number>({ what: 'ping' })).toBeGreaterThanOrEqual(0)
  const bodies = () =>
    bridge
      .events('m.room.message')
      .map((event) => event['content'].body as string)
      .filter((body) => body.startsWith('away'))
  await until(() => bodies().includes(texts.at(-1)!))
  expect(bodies()).toEqual(texts)
  // Its ghosts are there, and can go on.
  const event = await bridge.do<string>({ what: 'send', who: ghost, room, text: 'back' })
  await until(() => bridge.events('m.room.message').some((each) => each['event_id'] === event))
})

test('what was sent while the server was killed comes to the bridge once', async () => {
  for (let index = 0; index < 5; index++) await say(`before ${index}`)
  await laneway.stop('SIGKILL')
  await laneway.start()
  for (let index = 0; index < 5; index++) await say(`after ${index}`)
  const bodies = () =>
    bridge
      .events('m.room.message')
      .map((event) => event['content'].body as string)
      .filter((body) => /^(before|after)/.test(body))
  await until(() => bodies().includes('after 4'))
  expect(bodies()).toEqual(
    ['before', 'after'].flatMap((when) => Array.from({ length: 5 }, (_, at) => `${when} ${at}`)),
  )
})
