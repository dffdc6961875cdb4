import { afterEach, beforeEach, expect, test } from 'bun:test'
import { authorizationHeader } from '#core/x-matrix.ts'
import type { Json } from '#core/json.ts'
import * as transactions from '#api/server-server/transactions.ts'
import { here, Stage } from '#test/api/server-server/stage.ts'
import { plant, uproot } from '#test/api/server-server/plant.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'

const db = await testDatabase()
const evil = new MadeUpServer('evil.test')
const good = new MadeUpServer('good.test')
const mallory = evil.user('mallory')
const carol = good.user('carol')
const bob = `@bob:${here}`
let stage: Stage
let room: MadeUpRoom
let count = 0

beforeEach(async () => {
  const devices = ['users', 'devices', 'to_device', 'received_messages', 'remote_devices']
  await uproot(db.pool, 'inbox', 'inbound_txns', 'pending_joins', ...devices)
  room = MadeUpRoom.create('11', carol, good, evil)
  stage = await Stage.open(db.pool, Object.values(transactions), [evil, good])
  await plant(db.pool, stage.snapshots, room)
})
afterEach(() => stage.close())

const uriOf = (txnId: string) => `/_matrix/federation/v1/send/${txnId}`
const send = (from: MadeUpServer, body: { pdus?: Json[]; edus?: Json[] }) =>
  stage.ask(from, 'PUT', uriOf(`t${++count}`), { pdus: [], ...body })
/** A body as text, of which a half comes before `goOn`. Its signature is not to count any more. */
const sendText = (text: string, goOn: Promise<void> = Promise.resolve()) => {
  const uri = uriOf(`t${++count}`)
  const signed = { method: 'PUT', uri, origin: evil.name, destination: here, content: {} }
  const authorization = authorizationHeader(signed, evil.key)
  const bytes = Buffer.from(text)
  const half = bytes.length >> 1
  const body = new ReadableStream<Uint8Array>({
    start: async (stream) => {
      stream.enqueue(bytes.subarray(0, half))
      await goOn
      stream.enqueue(bytes.subarray(half))
      stream.close()
    },
  })
  const request = { method: 'PUT', headers: { authorization }, body }
  return stage.fetch(new Request(`https://${here}${uri}`, request))
}
const json = (text: string) => JSON.parse(text) as Json
const inboxed = async () => (await db.pool`select 1 from inbox`).length

/** While something hostile is on its way in, a good server is answered; then it is refused. */
async function goodComesFirst(hostile: string, expected: number) {
  const before = await inboxed()
  for (let each = 1; each <= 3; each++) {
    const gate = Promise.withResolvers<void>()
    let refused = false
    const bad = sendText(hostile, gate.promise).finally(() => (refused = true))
    const fine = await send(good, { pdus: [json(room.say(carol, `${each}`).text)] })
    expect(fine.status).toBe(200)
    expect(await inboxed()).toBe(before + each)
    expect(refused).toBe(false)
    gate.resolve()
    expect((await bad).status).toBe(expected)
    expect(await inboxed()).toBe(before + each)
  }
}

test('a transaction with ten thousand events is refused whole', async () => {
  const { text } = room.make(mallory, 'm.room.message', {})
  const body = (length: number) => `{"pdus":[${Array.from({ length }, () => text).join()}]}`
  await goodComesFirst(body(10_000), 401)
  // Signed it is none either.
  const pdus = Array.from({ length: 10_000 }, () => json(text))
  expect((await send(evil, { pdus })).status).toBe(400)
  // More bytes than fifty events may have are not read to their end.
  await goodComesFirst(body(30_000), 413)
})

test('a body that nests without end is no JSON, wherever it does', async () => {
  const deep = '['.repeat(1_000_000) + ']'.repeat(1_000_000)
  await goodComesFirst(`{"pdus":${deep}}`, 400)
  const objects = '{"a":'.repeat(300_000) + '1' + '}'.repeat(300_000)
  expect((await sendText(`{"pdus":[],"edus":[${objects}]}`)).status).toBe(400)
  expect((await sendText('{"pdus":['.repeat(100_000))).status).toBe(400)
})

test('events for rooms that we are not in are named as refused, and kept nowhere', async () => {
  const elsewhere = MadeUpRoom.create('12', mallory, evil)
  const pdus = Array.from({ length: 50 }, (_, i) => json(elsewhere.say(mallory, `${i}`).text))
  const made = Array.from({ length: 50 }, (_, i) => ({
    ...(pdus[0] as object),
    room_id: `!${i}:evil.test`,
  }))
  for (const each of [pdus, made]) {
    const { status, body } = await send(evil, { pdus: each as Json[] })
    expect([status, body]).toEqual([200, { pdus: {} }])
  }
  expect(await inboxed()).toBe(0)
  expect(stage.rooms.calls).toEqual([])
})

test('a flood of messages to devices keeps nobody’s events and messages back', async () => {
  const { users } = stage.ctx
  await users.call('createUser', bob, { admin: false, createdAt: 1 })
  await users.call('createSession', bob, {
    deviceId: 'D',
    tokenHash: crypto.getRandomValues(new Uint8Array(32)),
    createdAt: 1,
  })
  const edu = (sender: string, id: number, devices: number, user = bob): Json => ({
    edu_type: 'm.direct_to_device',
    content: {
      sender,
      type: 'm.x',
      message_id: `${id}`,
      messages: {
        [user]: Object.fromEntries(Array.from({ length: devices }, (_, i) => [`D${i || ''}`, {}])),
      },
    },
  })
  // To 5,000 devices that there are not, and many users who are none.
  const flood = Array.from({ length: 100 }, (_, i) =>
    edu(mallory, i, i % 10 === 0 ? 5_000 : 1, i % 3 === 0 ? `@nobody${i}:${here}` : bob),
  )
  const hostile = send(evil, { edus: flood })
  const fine = await send(good, {
    pdus: [json(room.say(carol, 'hello').text)],
    edus: [edu(carol, 1, 1)],
  })
  expect(fine.status).toBe(200)
  expect((await hostile).status).toBe(200)
  // Twice is once, and more than a transaction may have is refused.
  expect((await send(evil, { edus: flood })).status).toBe(200)
  expect((await send(evil, { edus: [...flood, ...flood] })).status).toBe(400)
  const rows = await db.pool<{ sender: string; device_id: string }[]>`
    select sender, device_id from to_device`
  expect(rows.filter(({ sender }) => sender === carol)).toHaveLength(1)
  // What is kept is for the one device that there is.
  expect(new Set(rows.map(({ device_id: device }) => device))).toEqual(new Set(['D']))
  expect(rows.length).toBeLessThanOrEqual(101)
})
