import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'
import { Told } from '#test/engine/room/told.ts'
import { MadeUpRoom } from '#test/builders.ts'
import { alice, stored, until, us } from '#test/room-engine.ts'
import { patienceMs } from '#test/until.ts'
import { besiege, evil, mallory, type Siege } from './siege.ts'

/** What peers answer when they are asked: by a join, a leave, a page of history. */

const join = (siege: Siege, roomId: string, via: string) =>
  siege.rooms.call('join', roomId, { userId: alice, content: '{}', via: [via] })

/** A room on a server that tells of it what a test wants. */
function elsewhere(siege: Siege) {
  const server = new RemoteServer('elsewhere.test')
  const room = new RemoteRoom('11', [server])
  const residents = new Residents([server, us as never], [room])
  siege.federation.answer = (request) => residents.call('request', request)
  const keys = siege.federation.call.bind(siege.federation)
  siege.federation.call = ((method: string, ...args: never[]) =>
    method === 'keys'
      ? residents.call('keys', ...(args as never as [never, never]))
      : keys(method as 'request', ...(args as never as [never]))) as typeof keys
  return { server, room, residents }
}

const rowsOf = (siege: Siege, roomId: string) =>
  siege.database.pool`select 1 from rooms where room_id = ${roomId} and kind = 'joined'`

const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => error,
  )

test('a join whose answer does not come holds up nobody, and leaves nothing when it is given up', async () => {
  await using siege = await besiege({ limits: { joinMs: patienceMs } })
  const { room, server, residents } = elsewhere(siege)
  const gate = Promise.withResolvers<void>()
  const { answer } = siege.federation
  siege.federation.answer = async (request) => {
    const told = await answer(request)
    if (!request.uri.includes('/send_join/')) return told
    await gate.promise
    return { status: 504, body: '' }
  }
  let ended = false
  const joining = failureOf(join(siege, room.roomId, server.name)).finally(() => (ended = true))
  await until(() => residents.asked('send_join').length === 1)
  await siege.othersGoOn(() => !ended)
  gate.resolve()
  expect(await joining).toBeInstanceOf(Error)
  expect(await rowsOf(siege, room.roomId)).toHaveLength(0)
})

type Lie = (body: JsonObject) => JsonObject
const lies: [string, Lie][] = [
  ['omits the state', (body) => ({ ...body, state: [] })],
  ['omits the create event', without('m.room.create')],
  ['omits why we are let in', without('m.room.join_rules')],
  ['is of other kinds', () => ({ state: 'all', auth_chain: 7 })],
]

function without(type: string): Lie {
  return (body) => ({
    ...body,
    state: (body['state'] as JsonObject[]).filter((pdu) => pdu['type'] !== type),
  })
}

test.each(lies)('a join whose answer %s fails, and leaves nothing', async (_, lie) => {
  await using siege = await besiege()
  const { room, server, residents } = elsewhere(siege)
  residents.lie = ({ name }, answer) =>
    name === 'send_join' ? { status: 200, body: lie(answer.body as JsonObject) } : answer
  const failure = await failureOf(join(siege, room.roomId, server.name))
  expect(failure).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
  expect(await rowsOf(siege, room.roomId)).toHaveLength(0)
  await siege.othersGoOn(() => true)
})

test('state that is invented with an answer to a join does not come in, and the rest does', async () => {
  await using siege = await besiege()
  const { room, server, residents } = elsewhere(siege)
  const ghost = '@ghost:nowhere.test'
  const { pdu } = room.build({
    type: 'm.room.topic',
    sender: room.creator,
    stateKey: '',
    content: { topic: ghost },
  })
  const forged = { ...pdu, sender: ghost }
  const many = Array.from({ length: 3_000 }, (_, i) => ({ ...forged, state_key: `${i}` }))
  residents.lie = ({ name }, answer) => {
    const body = answer.body as JsonObject
    if (name !== 'send_join') return answer
    return { status: 200, body: { ...body, state: [...(body['state'] as JsonObject[]), ...many] } }
  }
  await join(siege, room.roomId, server.name)
  expect(await rowsOf(siege, room.roomId)).toHaveLength(1)
  const kept = await siege.database.pool`select 1 from event_json where json like ${`%${ghost}%`}`
  expect(kept).toHaveLength(0)
  await siege.othersGoOn(() => true)
})

test('of a template for a join nothing but a join is signed', async () => {
  await using siege = await besiege()
  const { room, server, residents } = elsewhere(siege)
  residents.lie = ({ name }, answer) => {
    if (name !== 'make_join') return answer
    const body = answer.body as JsonObject
    const event = { ...(body['event'] as JsonObject), type: 'm.room.power_levels', state_key: '' }
    return { status: 200, body: { ...body, event } }
  }
  expect(await failureOf(join(siege, room.roomId, server.name))).toMatchObject({ status: 502 })
  expect(residents.asked('make_join')).toHaveLength(1)
  expect(residents.asked('send_join')).toEqual([])
  await siege.othersGoOn(() => true)
})

test('a page of history with foreign events gives nothing of them, and readers do not wait for others', async () => {
  await using siege = await besiege({ limits: { pageMs: patienceMs, backfillMs: patienceMs } })
  const { room, roomId, database } = siege
  const told = new Told(room)
  const missed = Array.from({ length: 5 }, (_, i) => room.say(mallory, `missed ${i}`))
  const last = room.say(mallory, 'last')
  siege.federation.answer = told.answer
  told.lie = ({ name }, reply) =>
    name === 'get_missing_events' ? { status: 403, body: {} } : reply
  await siege.attack([last.text])
  await until(async () => (await stored(database, roomId, last.event.eventId)) !== undefined)

  const foreign = MadeUpRoom.create('12', mallory, evil)
  const aliens = Array.from({ length: 100 }, (_, i) => foreign.say(mallory, `${i}`))
  const forged = room.make(alice, 'm.room.message', { body: 'I, alice' }, { signedBy: evil })
  const gate = Promise.withResolvers<void>()
  let ended = false
  told.lie = ({ name }, reply) =>
    name === 'backfill'
      ? {
          status: 200,
          body: { pdus: [...aliens, forged, ...missed.slice(-2)].map(({ event }) => event.pdu) },
        }
      : reply
  siege.federation.answer = async (request) => {
    await gate.promise
    return told.answer(request)
  }
  const reading = siege.rooms.call('backfill', roomId, [], 20).finally(() => (ended = true))
  await siege.othersGoOn(() => !ended)
  gate.resolve()
  await reading
  for (const { event } of [...aliens.slice(0, 3), forged])
    expect(await stored(database, roomId, event.eventId)).toBeUndefined()
  expect(siege.errors).toEqual([])
})
