import { describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { openPool } from '#store/db.ts'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

let count = 0
const send = (by: Person, messages: object, txn = `t${++count}`, type = 'm.test') =>
  by.client.put(`/sendToDevice/${type}/${txn}`, { messages })

const sync = async (person: Person, since?: string, timeout = 0) =>
  (
    await person.client.get(
      `/sync?timeout=${timeout}${since === undefined ? '' : `&since=${since}`}`,
    )
  ).body

type Told = { content: { n: number } }
const numbers = (answer: { to_device?: { events: Told[] } }) =>
  (answer.to_device?.events ?? []).map(({ content }) => content.n)

const outbox = () => db.pool<{ server: string; json: string }[]>`
  select server, json from outbox_edus order by edu_id`

describe('messages to devices', () => {
  test('reach the devices that are named, or all of them, until they are acknowledged', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const phone = await home.logIn(bob.userId, { deviceId: 'PHONE' })
    const { status, body } = await send(alice, {
      [bob.userId]: { '*': { n: 1 }, PHONE: { n: 2 }, GONE: { n: 3 } },
      '@nobody:here.example': { '*': { n: 4 } },
    })
    expect([status, body]).toEqual([200, {}])
    const first = await sync(bob)
    expect(first.to_device.events).toEqual([
      { type: 'm.test', sender: alice.userId, content: { n: 1 } },
    ])
    expect(numbers(await sync(phone))).toEqual([2])
    // Not acknowledged: the answer may have been lost.
    expect(numbers(await sync(bob))).toEqual([1])
    expect((await sync(bob, first.next_batch)).to_device).toBeUndefined()
    expect(await db.pool`select from to_device where user_id = ${bob.userId}`).toHaveLength(1)
    expect(numbers(await sync(bob))).toEqual([])
  })

  test('wake a sync that waits', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const { next_batch: since } = await sync(bob)
    const waiting = sync(bob, since, 60_000)
    await send(alice, { [bob.userId]: { [bob.deviceId]: { n: 1 } } })
    expect(numbers(await waiting)).toEqual([1])
  })

  test('come a hundred at a time, in their order, and none is lost or told twice', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    let { next_batch: since } = await sync(bob)
    for (let n = 0; n < 250; n++)
      await home.ctx.users.call('deliverToDevice', bob.userId, {
        sender: alice.userId,
        type: 'm.test',
        messages: [[bob.deviceId, `{"n":${n}}`]],
      })
    const told: number[][] = []
    for (let round = 0; round < 4; round++) {
      const answer = await sync(bob, since)
      told.push(numbers(answer))
      since = answer.next_batch
      // New ones come behind those that wait.
      if (round === 0) await send(alice, { [bob.userId]: { [bob.deviceId]: { n: 250 } } })
    }
    expect(told.map((list) => list.length)).toEqual([100, 100, 51, 0])
    expect(told.flat()).toEqual(Array.from({ length: 251 }, (_, n) => n))
    expect(await db.pool`select from to_device where user_id = ${bob.userId}`).toHaveLength(0)
  })

  test('of a transaction that is repeated are sent once; each device and type has its own', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const other = await home.logIn(alice.userId)
    const messages = {
      [bob.userId]: { [bob.deviceId]: { n: 1 } },
      [alice.userId]: { '*': { n: 2 } },
      '@carol:peer.test': { D: { n: 3 } },
    }
    const before = (await outbox()).length
    await Promise.all([send(alice, messages, 'same'), send(alice, messages, 'same')])
    await send(alice, messages, 'same')
    await send(other, messages, 'same')
    await send(alice, messages, 'same', 'm.other')
    expect(numbers(await sync(bob))).toEqual([1, 1, 1])
    expect(numbers(await sync(alice))).toEqual([2, 2, 2])
    expect((await outbox()).slice(before)).toHaveLength(3)
  })

  test('for other servers wait in their queues, in EDUs of bounded size', async () => {
    const alice = await home.person('alice')
    const before = (await outbox()).length
    const large = { text: 'x'.repeat(30_000) }
    await send(alice, {
      '@carol:peer.test': { '*': { n: 1 }, A: large, B: large, C: large },
      '@dave:other.test': { D: { n: 2 } },
    })
    const rows = (await outbox()).slice(before).map(({ server, json }) => {
      const { edu_type: type, content } = JSON.parse(json) as {
        edu_type: string
        content: JsonObject
      }
      expect(type).toBe('m.direct_to_device')
      expect(content).toMatchObject({ sender: alice.userId, type: 'm.test' })
      expect((content['message_id'] as string).length).toBeLessThanOrEqual(32)
      return { server, content }
    })
    expect(rows.map(({ server }) => server)).toEqual(['peer.test', 'peer.test', 'other.test'])
    expect(new Set(rows.map(({ content }) => content['message_id'])).size).toBe(3)
    expect(rows.map(({ content }) => content['messages'])).toEqual([
      { '@carol:peer.test': { '*': { n: 1 }, A: large, B: large } },
      { '@carol:peer.test': { C: large } },
      { '@dave:other.test': { D: { n: 2 } } },
    ])
  })

  test('that are none are refused', async () => {
    const alice = await home.person('alice')
    const errcode = async (body: unknown) => {
      const answer = await alice.client.put(`/sendToDevice/m.test/t${++count}`, body)
      return [answer.status, answer.body.errcode]
    }
    expect(await errcode({})).toEqual([400, 'M_BAD_JSON'])
    expect(await errcode({ messages: { [alice.userId]: { D: 'text' } } })).toEqual([
      400,
      'M_BAD_JSON',
    ])
    expect(await errcode({ messages: { alice: { D: {} } } })).toEqual([400, 'M_INVALID_PARAM'])
    expect(await errcode({ messages: { [alice.userId]: { 'a\0b': {} } } })).toEqual([
      400,
      'M_INVALID_PARAM',
    ])
    expect((await home.client.put('/sendToDevice/m.test/x', { messages: {} })).status).toBe(401)
  })
})

test('a thousand messages to fifty waiting users need no lock on users or devices', async () => {
  const people: Person[] = []
  for (let n = 0; n < 50; n++) people.push(await home.person('waiting'))
  const sender = await home.person('sender')
  const tokens = await Promise.all(people.map(async (person) => (await sync(person)).next_batch))
  const got = new Map(people.map(({ userId }) => [userId, [] as number[]]))
  const wanted = 20
  const listen = async (person: Person, since: string): Promise<void> => {
    const mine = got.get(person.userId)!
    while (mine.length < wanted) {
      const answer = await sync(person, since, 60_000)
      mine.push(...numbers(answer))
      since = answer.next_batch
    }
  }
  const holder = openPool(db.url, { max: 1, name: 'holder' })
  let release = () => {}
  let held = false
  const holding = holder.begin(async (sql) => {
    await sql`select from users for update`
    await sql`select from devices for update`
    held = true
    await new Promise<void>((resolve) => (release = resolve))
  })
  await until(() => held)
  // What notes when devices were seen waits for its rows, and nothing waits for it.
  home.now += 120_000
  const listening = people.map((person, index) => listen(person, tokens[index]!))
  const answers = await Promise.all(
    Array.from({ length: 50 * wanted }, (_, index) => {
      const { userId, deviceId } = people[index % 50]!
      return send(sender, { [userId]: { [deviceId]: { n: Math.floor(index / 50) } } })
    }),
  )
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  await Promise.all(listening)
  const flushing = home.ctx.tokens.flush()
  release()
  await Promise.all([holding, flushing])
  await holder.end()
  const once = Array.from({ length: wanted }, (_, n) => n)
  for (const mine of got.values()) expect(mine.toSorted((a, b) => a - b)).toEqual(once)
})
