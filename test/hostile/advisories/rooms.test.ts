import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { Told } from '#test/engine/room/told.ts'
import { adopt, joinFrom, refusal, setState, stored, until } from '#test/room-engine.ts'
import { besiege, carol, evil, good, mallory, type Siege } from '#test/hostile/siege.ts'

const forbidden = { status: 403, body: {} }
const isEmpty = (siege: Siege) => async () => (await siege.inboxed()) === 0

async function currentState(siege: Siege, type: string): Promise<JsonObject> {
  const room = await adopt(siege.database, siege.roomId, evil)
  return room.state.get(`${type} `)!.content
}

test('CVE-2022-39374: a rejected event does not come back as state that a peer tells', async () => {
  await using siege = await besiege({
    limits: { attempts: 2, retryMs: 5, inboxPollMs: 5 },
  })
  const { room, roomId } = siege
  const powers = await currentState(siege, 'm.room.power_levels')
  const coup = room.add(
    mallory,
    'm.room.power_levels',
    { users: { [mallory]: 100 } },
    { stateKey: '', aside: true },
  )
  await siege.attack([coup.text])
  await until(isEmpty(siege))
  const { event } = coup
  expect(await stored(siege.database, roomId, event.eventId)).toMatchObject({ flags: 1 })

  const told = new Told(room)
  siege.federation.answer = told.answer
  const hidden = room.say(mallory, 'never told')
  const last = room.say(mallory, 'on top of what you will not get')
  const withCoup = (list: unknown, own: unknown) => [...(list as never[]), own] as never
  told.lie = ({ name }, reply) => {
    if (name === 'get_missing_events' || name === 'event') return forbidden
    const body = reply.body as JsonObject
    if (name === 'state_ids')
      return {
        status: 200,
        body: { ...body, pdu_ids: withCoup(without(body['pdu_ids']), event.eventId) },
      }
    return name === 'state'
      ? { status: 200, body: { ...body, pdus: withCoup(withoutPdu(body['pdus']), event.pdu) } }
      : reply
  }
  const old = room.state.get('m.room.power_levels ')!
  const without = (ids: unknown) => (ids as string[]).filter((id) => id !== old.eventId)
  const withoutPdu = (pdus: unknown) =>
    (pdus as JsonObject[]).filter((pdu) => pdu['type'] !== 'm.room.power_levels')
  await siege.attack([last.text])
  await until(isEmpty(siege))
  expect(await currentState(siege, 'm.room.power_levels')).toEqual(powers)
  expect(await stored(siege.database, roomId, hidden.event.eventId)).toBeUndefined()
  await siege.othersGoOn(() => true)
})

test('CVE-2022-39200: events that were asked for because they lacked are checked like all', async () => {
  await using siege = await besiege({ limits: { attempts: 2, retryMs: 5, inboxPollMs: 5 } })
  const told = new Told(siege.room)
  siege.federation.answer = told.answer
  const forged = siege.room.say(mallory, 'I, mallory', { signedBy: good })
  const last = siege.room.say(mallory, 'on top of it')
  await siege.attack([last.text])
  await until(isEmpty(siege))
  const row = await stored(siege.database, siege.roomId, forged.event.eventId)
  expect(row).toBeUndefined()
})

test('CVE-2018-16515: whoever the access list keeps out is kept out of each room, and so is what they forge', async () => {
  await using siege = await besiege()
  const { roomId, room } = siege
  await setState(siege, roomId, 'm.room.server_acl', { allow: ['*'], deny: [evil.name] })
  const kept = room.say(mallory, 'from outside', { aside: true })
  const forged = room.say(carol, 'in the name of carol', { signedBy: evil, aside: true })
  await siege.attack([kept.text, forged.text])
  await until(isEmpty(siege))
  for (const { event } of [kept, forged])
    expect(await stored(siege.database, roomId, event.eventId)).toBeUndefined()
  expect(siege.engine.parts.counters).toMatchObject({ dropped: 2, accepted: 0 })
})

test('CVE-2019-18835: a join that is handed in must be signed by the server of its user', async () => {
  await using siege = await besiege()
  const { rooms, roomId } = siege
  const room = await adopt(siege.database, roomId, good, evil)
  const dave = good.user('dave')
  const forged = room.member(dave, dave, 'join', { signedBy: evil, aside: true })
  for (const origin of [evil.name, good.name])
    expect([400, 403]).toContain(
      (await refusal(rooms.call('sendJoin', roomId, origin, forged.text)))[0],
    )
  const leave = room.member(mallory, mallory, 'leave', { signedBy: good, aside: true })
  expect([400, 403]).toContain(
    (await refusal(rooms.call('sendLeave', roomId, evil.name, leave.text)))[0],
  )
  expect(await stored(siege.database, roomId, forged.event.eventId)).toBeUndefined()
})

test('CVE-2020-26257: a join of one room is not handed in to another', async () => {
  await using siege = await besiege({ version: '11' })
  const { rooms, roomId, calmId, database } = siege
  const room = await joinFrom(siege, database, roomId, good, 'erin')
  const frank = good.user('frank')
  const { event, text } = room.member(frank, frank, 'join', { aside: true })
  const [status] = await refusal(rooms.call('sendJoin', calmId, good.name, text))
  expect([400, 403]).toContain(status)
  expect(await stored(database, calmId, event.eventId)).toBeUndefined()
})

test('CVE-2025-30355: events with numbers of no bound do no harm, and what follows can be sent', async () => {
  await using siege = await besiege({ version: '5' })
  const { room, roomId, database } = siege
  const odd = room.say(mallory, 'odd', { depth: Number.MAX_SAFE_INTEGER })
  const beyond = odd.text.replace(`${Number.MAX_SAFE_INTEGER}`, '1e400')
  const negative = odd.text.replace(`${Number.MAX_SAFE_INTEGER}`, '-9223372036854775808')
  const nested = `{"room_id":"${roomId}","x":${'['.repeat(20_000)}${']'.repeat(20_000)}}`
  await siege.attack([beyond, negative, nested, odd.text])
  await until(isEmpty(siege))
  expect(await stored(database, roomId, odd.event.eventId)).toMatchObject({ flags: 0 })
  const { eventId } = await setState(siege, roomId, 'm.room.topic', { topic: 'ours' })
  const { depth } = JSON.parse((await stored(database, roomId, eventId))!.json) as JsonObject
  expect(depth).toBe(Number.MAX_SAFE_INTEGER)
  await siege.othersGoOn(() => true)
})

test('CVE-2026-45076: a row of rejected events does not end the history behind it', async () => {
  await using siege = await besiege()
  const { room, roomId, database } = siege
  const ghost = evil.user('ghost')
  const auth = room.make(mallory, 'm.room.message', {}).event.authEvents
  const refused = Array.from({ length: 60 }, (_, i) =>
    room.say(ghost, `${i}`, { auth, prev: room.heads, aside: true }),
  )
  const last = room.say(mallory, 'behind them', {
    prev: [...room.heads, ...refused.slice(0, 15).map(({ event }) => event.eventId)],
  })
  await siege.attack([...refused, last].map(({ text }) => text))
  await until(isEmpty(siege))
  const rows = await Promise.all(
    refused.slice(0, 3).map(({ event }) => stored(database, roomId, event.eventId)),
  )
  // They have no place in what is read, so that no page can be full of them.
  for (const row of rows) expect(row).toMatchObject({ flags: 1, position: null, chain: null })
  expect(await stored(database, roomId, last.event.eventId)).toMatchObject({ flags: 0 })
})
