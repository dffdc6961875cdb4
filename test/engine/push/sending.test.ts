import { beforeEach, describe, expect, test } from 'bun:test'
import { pushFacts } from '#core/push/facts.ts'
import { Home, type Person } from '#test/api/client-server/home.ts'
import { testDatabase } from '#test/database.ts'
import type { StoryRoom } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'
import { Gateway } from './gateway.ts'
import { Pushing } from './pushing.ts'

const db = await testDatabase()
const home = await Home.open(db, { config: { push: { insecure_gateways: true } } })
const gateway = Gateway.open()
const pushing = await Pushing.start(home)
let keys = 0

beforeEach(() => {
  gateway.answer = () => ({})
  home.now += 1000
})

const notify = { pushFlags: pushFacts.notify }
const loud = { pushFlags: pushFacts.notify | pushFacts.highlight }

async function addPusher(who: Person, more: object = {}, url = gateway.url): Promise<string> {
  const pushkey = `key${++keys}`
  const answer = await who.client.post('/pushers/set', {
    kind: 'http',
    app_id: 'org.example.app',
    pushkey,
    app_display_name: 'App',
    device_display_name: 'Phone',
    lang: 'en',
    data: { url, brand: 'Example' },
    ...more,
  })
  expect(answer.body).toEqual({})
  return pushkey
}

/** Two people in a room; the first one has a pusher. */
async function scene(more: object = {}) {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const room = await home.story.room(alice.userId)
  await room.member(bob.userId, 'join', { content: { displayname: 'Bob' } })
  const pushkey = await addPusher(alice, more)
  return { alice, bob, room, pushkey }
}

const read = async (who: Person, room: StoryRoom, eventId: string) =>
  expect(
    (
      await who.client.post(
        `/rooms/${encodeURIComponent(room.roomId)}/receipt/m.read/${encodeURIComponent(eventId)}`,
        {},
      )
    ).status,
  ).toBe(200)

/** Until nothing is left to tell, whenever it was that the last request failed. */
const toldAtLast = (who: Person) =>
  until(async () => {
    home.now += 5_000
    return (await pushing.queued(who)) === 0
  })

describe('a push gateway', () => {
  test('is told of a message, with all that the spec says of it', async () => {
    const { bob, room, pushkey } = await scene()
    await room.state(bob.userId, 'm.room.name', '', { name: 'Den' })
    await room.state(bob.userId, 'm.room.canonical_alias', '', { alias: '#den:here.example' })
    const { eventId } = await room.send(bob.userId, 'hello', notify)
    const [push] = await gateway.wait(pushkey, 1)
    expect(push).toEqual({
      event_id: eventId,
      room_id: room.roomId,
      type: 'm.room.message',
      sender: bob.userId,
      sender_display_name: 'Bob',
      room_name: 'Den',
      room_alias: '#den:here.example',
      prio: 'high',
      content: { msgtype: 'm.text', body: 'hello' },
      counts: { unread: 1 },
      devices: [
        {
          app_id: 'org.example.app',
          pushkey,
          pushkey_ts: expect.any(Number),
          data: { brand: 'Example' },
          // Two are in the room: the rule for that makes a sound.
          tweaks: { sound: 'default' },
        },
      ],
    })
    expect(gateway.received.at(-1)!.path).toBe('POST /_matrix/push/v1/notify')
  })

  test('is told no more than IDs and counts where the client wants it so', async () => {
    const { bob, room, pushkey } = await scene({
      data: { url: gateway.url, format: 'event_id_only' },
    })
    const { eventId } = await room.send(bob.userId, 'a secret', notify)
    const [push] = await gateway.wait(pushkey, 1)
    expect(Object.keys(push!).sort()).toEqual(['counts', 'devices', 'event_id', 'prio', 'room_id'])
    expect(push).toMatchObject({ event_id: eventId, room_id: room.roomId, counts: { unread: 1 } })
    expect(push!.devices[0]!.data).toEqual({ format: 'event_id_only' })
    expect(JSON.stringify(push)).not.toContain('secret')
  })

  test('hears of messages in their order, each once, with what is unread by then', async () => {
    const { bob, room, pushkey } = await scene()
    const sent: string[] = []
    for (let count = 0; count < 30; count++)
      sent.push((await room.send(bob.userId, `message ${count}`, notify)).eventId)
    const pushes = await gateway.wait(pushkey, 30)
    expect(pushes.map((push) => push.event_id)).toEqual(sent)
    await until(async () => (await pushing.queued({ userId: bob.userId })) === 0)
    expect(gateway.of(pushkey)).toHaveLength(30)
  })

  test('hears nothing of what the user sent, of what nobody is notified of, or of whom they ignore', async () => {
    const { alice, bob, room, pushkey } = await scene()
    const carol = await home.person('carol')
    await room.member(carol.userId, 'join')
    await alice.client.put(
      `/user/${encodeURIComponent(alice.userId)}/account_data/m.ignored_user_list`,
      { ignored_users: { [carol.userId]: {} } },
    )
    await room.send(alice.userId, 'my own', notify)
    await room.send(carol.userId, 'ignored', notify)
    await room.tell(bob.userId, 'm.room.message', { msgtype: 'm.notice', body: 'a notice' })
    await room.tell(bob.userId, 'org.example.nothing', {})
    const { eventId } = await room.send(bob.userId, 'the last', notify)
    const pushes = await gateway.wait(pushkey, 1)
    expect(pushes.map((push) => push.event_id)).toEqual([eventId])
  })

  test('knows the name of a user whose own rules ask for it', async () => {
    const { alice, bob, room, pushkey } = await scene()
    await alice.client.put(`/profile/${alice.userId}/displayname`, { displayname: 'Alicia' })
    const rule = { pattern: 'cake', actions: ['notify'] }
    expect((await alice.client.put('/pushrules/global/content/cake', rule)).status).toBe(200)
    const { eventId } = await room.send(bob.userId, 'Alicia, look', notify)
    const pushes = await gateway.wait(pushkey, 1)
    expect(pushes.map((push) => push.event_id)).toEqual([eventId])
  })

  test('says low priority of what makes no sound, and high of who is named', async () => {
    const { alice, bob, room, pushkey } = await scene()
    const carol = await home.person('carol')
    await room.member(carol.userId, 'join')
    await room.send(bob.userId, 'quiet', notify)
    await room.tell(
      bob.userId,
      'm.room.message',
      { msgtype: 'm.text', body: 'you', 'm.mentions': { user_ids: [alice.userId] } },
      { ...notify, mentions: [alice.userId] },
    )
    const pushes = await gateway.wait(pushkey, 2)
    expect(pushes.map(({ prio, devices }) => [prio, devices[0]!.tweaks])).toEqual([
      ['low', {}],
      ['high', { sound: 'default', highlight: true }],
    ])
  })

  test('is told of an invite, with the name that came with it', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const room = await home.story.room(bob.userId)
    await room.state(bob.userId, 'm.room.name', '', { name: 'Cellar' })
    const pushkey = await addPusher(alice)
    const { eventId } = await room.member(alice.userId, 'invite', { by: bob.userId })
    const [push] = await gateway.wait(pushkey, 1)
    expect(push).toMatchObject({
      event_id: eventId,
      type: 'm.room.member',
      user_is_target: true,
      room_name: 'Cellar',
      sender: bob.userId,
      devices: [{ tweaks: { sound: 'default' } }],
    })
  })

  test('is told by rules of a user’s own', async () => {
    const { alice, bob, room, pushkey } = await scene()
    const put = (path: string, body: object) => alice.client.put(`/pushrules/global/${path}`, body)
    await put('content/tea', {
      pattern: 'tea',
      actions: ['notify', { set_tweak: 'sound', value: 'kettle' }],
    })
    await put(`room/${encodeURIComponent(room.roomId)}`, { actions: [] })
    await put('override/odd', {
      conditions: [{ kind: 'org.example.unknown' }],
      actions: ['notify'],
    })
    await room.send(bob.userId, 'of nothing', notify)
    const { eventId } = await room.send(bob.userId, 'of TEA, then', notify)
    const pushes = await gateway.wait(pushkey, 1)
    expect(pushes.map((push) => push.event_id)).toEqual([eventId])
    expect(pushes[0]!.devices[0]!.tweaks).toEqual({ sound: 'kettle' })
  })

  test('hears of a room from the join on, and until the leave', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const room = await home.story.room(bob.userId)
    const pushkey = await addPusher(alice)
    await room.send(bob.userId, 'before', notify)
    await room.member(alice.userId, 'join')
    const { eventId: first } = await room.send(bob.userId, 'first', notify)
    const { eventId: last } = await room.send(bob.userId, 'last', notify)
    await room.member(alice.userId, 'leave')
    await room.send(bob.userId, 'after', notify)
    await room.member(alice.userId, 'join')
    const { eventId: again } = await room.send(bob.userId, 'again', notify)
    // Among them may be a count alone: of a room that was left nothing is unread.
    const told = () => gateway.of(pushkey).flatMap((push) => push.event_id ?? [])
    await until(() => told().includes(again))
    expect(told()).toEqual([first, last, again])
  })

  test('is told the count alone when something was read, zero too, and only if it changed', async () => {
    const { alice, bob, room, pushkey } = await scene()
    const one = await room.send(bob.userId, 'one', notify)
    const two = await room.send(bob.userId, 'two', notify)
    await gateway.wait(pushkey, 2)
    await until(async () => (await pushing.queued(alice)) === 0)
    await read(alice, room, one.eventId)
    const [, , third] = await gateway.wait(pushkey, 3)
    expect(third).toEqual({
      counts: { unread: 1 },
      devices: [expect.objectContaining({ pushkey, tweaks: {} })],
    })
    await read(alice, room, two.eventId)
    const [, , , fourth] = await gateway.wait(pushkey, 4)
    expect(fourth!.counts).toEqual({ unread: 0 })
    // It was zero before: nothing is to be told.
    await until(async () => (await pushing.queued(alice)) === 0)
    const three = await room.send(alice.userId, 'mine', notify)
    await read(alice, room, three.eventId)
    await pushing.followed()
    expect(await pushing.queued(alice)).toBe(0)
    expect(gateway.of(pushkey)).toHaveLength(4)
  })

  test('is told the count when the user answers from elsewhere', async () => {
    const { alice, bob, room, pushkey } = await scene()
    await room.send(bob.userId, 'well?', notify)
    await gateway.wait(pushkey, 1)
    await until(async () => (await pushing.queued(alice)) === 0)
    await room.send(alice.userId, 'well!', notify)
    const [, push] = await gateway.wait(pushkey, 2)
    expect(push!.counts).toEqual({ unread: 0 })
    expect(push!.event_id).toBeUndefined()
  })

  test('speaks to each of several devices, of which one may have its key taken back', async () => {
    const { alice, bob, room, pushkey } = await scene()
    const other = await addPusher(alice)
    gateway.answer = ({ notification: { devices } }) => ({
      body: { rejected: devices[0]!.pushkey === other ? ['somebody else’s', other] : ['nobody’s'] },
    })
    await room.send(bob.userId, 'one', loud)
    await gateway.wait(other, 1)
    await until(async () => {
      const { body } = await alice.client.get('/pushers')
      return body.pushers.length === 1
    })
    await room.send(bob.userId, 'two', loud)
    await gateway.wait(pushkey, 2)
    const { body } = await alice.client.get('/pushers')
    expect(body.pushers.map((pusher: { pushkey: string }) => pusher.pushkey)).toEqual([pushkey])
    expect(gateway.of(other)).toHaveLength(1)
  })
})

describe('a gateway that fails', () => {
  test.each([500, 503, 429, 502])(
    'with %i is asked again later, and nothing is lost',
    async (status) => {
      const { alice, bob, room, pushkey } = await scene()
      gateway.answer = () => ({ status, body: 'no' })
      const one = await room.send(bob.userId, 'one', notify)
      const two = await room.send(bob.userId, 'two', notify)
      await gateway.wait(pushkey, 1)
      await pushing.followed()
      gateway.answer = () => ({})
      expect(await pushing.queued(alice)).toBe(2)
      await toldAtLast(alice)
      const told = gateway.of(pushkey).map((push) => push.event_id)
      expect(told.slice(-2)).toEqual([one.eventId, two.eventId])
      expect(new Set(told.slice(0, -2))).toEqual(new Set([one.eventId]))
    },
  )

  test.each([400, 404, 302])('with %i for one pusher holds up no other', async (status) => {
    const [first, second] = [await scene(), await scene()]
    gateway.answer = ({ notification: { devices } }) =>
      devices[0]!.pushkey === first.pushkey ? { status, body: '{}' } : {}
    await first.room.send(first.bob.userId, 'one', notify)
    await gateway.wait(first.pushkey, 1)
    await second.room.send(second.bob.userId, 'two', notify)
    await gateway.wait(second.pushkey, 1)
    await until(async () => (await pushing.queued(second.alice)) === 0)
    expect(await pushing.queued(first.alice)).toBe(1)
    gateway.answer = () => ({})
    await toldAtLast(first.alice)
  })

  test('and is slow holds up no other', async () => {
    const slow = Gateway.open()
    const held = Promise.withResolvers<void>()
    slow.answer = () => ({ hold: held.promise })
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const room = await home.story.room(alice.userId)
    await room.member(bob.userId, 'join')
    const slowKeys = []
    for (let count = 0; count < 30; count++) slowKeys.push(await addPusher(alice, {}, slow.url))
    const pushkey = await addPusher(alice)
    await room.send(bob.userId, 'hello', notify)
    await gateway.wait(pushkey, 1)
    await until(() => slow.received.length > 0)
    // No more than its share is under way.
    expect(slow.received.length).toBeLessThanOrEqual(16)
    held.resolve()
    await until(async () => (await pushing.queued(alice)) === 0)
    for (const key of slowKeys) expect(slow.of(key)).toHaveLength(1)
  })

  test('for longer than a day is not told what is older', async () => {
    const { alice, bob, room, pushkey } = await scene()
    gateway.answer = () => ({ status: 500 })
    const old = await room.send(bob.userId, 'old', notify)
    await gateway.wait(pushkey, 1)
    home.now += 25 * 3_600_000
    const fresh = await room.send(bob.userId, 'new', notify)
    await until(() => {
      home.now += 5_000
      return gateway.of(pushkey).some((push) => push.event_id === fresh.eventId)
    })
    gateway.answer = () => ({})
    await toldAtLast(alice)
    const told = gateway.of(pushkey).map((push) => push.event_id)
    expect(told.lastIndexOf(old.eventId)).toBeLessThan(told.indexOf(fresh.eventId))
    expect(told.at(-1)).toBe(fresh.eventId)
  })

  test('and has much left to tell keeps the newest of it', async () => {
    const { alice, bob, room, pushkey } = await scene()
    gateway.answer = () => ({ status: 500 })
    for (let count = 0; count < 260; count++) await room.send(bob.userId, `${count}`, notify)
    await pushing.followed()
    expect(await pushing.queued(alice)).toBeLessThanOrEqual(260)
    gateway.answer = () => ({})
    await toldAtLast(alice)
    expect(gateway.of(pushkey).at(-1)!.content).toMatchObject({ body: '259' })
  })

  test('is not told what was read or taken back meanwhile', async () => {
    const { alice, bob, room, pushkey } = await scene()
    gateway.answer = () => ({ status: 500 })
    const read1 = await room.send(bob.userId, 'read', notify)
    await gateway.wait(pushkey, 1)
    const taken = await room.send(bob.userId, 'taken back', notify)
    const last = await room.send(bob.userId, 'last', notify)
    await read(alice, room, read1.eventId)
    await room.tell(
      bob.userId,
      'm.room.redaction',
      { redacts: taken.eventId },
      { redacts: taken.eventId },
    )
    await pushing.followed()
    gateway.answer = () => ({})
    await toldAtLast(alice)
    const told = gateway.of(pushkey).map((push) => push.event_id)
    expect(told).not.toContain(taken.eventId)
    expect(told.filter((id) => id !== read1.eventId && id !== undefined)).toEqual([last.eventId])
  })
})

test('what is queued is told after a restart, and nothing twice', async () => {
  const { alice, bob, room, pushkey } = await scene()
  await pushing.stop()
  const sent = []
  for (let count = 0; count < 3; count++)
    sent.push((await room.send(bob.userId, `${count}`, notify)).eventId)
  expect(gateway.of(pushkey)).toEqual([])
  const next = await Pushing.start(home)
  await gateway.wait(pushkey, 3)
  await until(async () => (await next.queued(alice)) === 0)
  expect(gateway.of(pushkey).map((push) => push.event_id)).toEqual(sent)
  // And once more, with nothing left.
  await next.stop()
  const last = await Pushing.start(home)
  await last.followed()
  const { eventId } = await room.send(bob.userId, 'new', notify)
  await gateway.wait(pushkey, 4)
  expect(gateway.of(pushkey).at(-1)!.event_id).toBe(eventId)
  expect(gateway.of(pushkey)).toHaveLength(4)
})
