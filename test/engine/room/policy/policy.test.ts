import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { hasPolicySignature, policyKeyId } from '#core/event/policy.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { eventFlags } from '#store/room/batch.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { alice, bob, joinFrom, refusal, say, setState, stored, until } from '#test/room-engine.ts'
import type { OutgoingAnswer } from '#engine/worker/protocol.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'
import {
  policedIn,
  policy,
  key,
  via,
  limits,
  nameIt,
  spam,
  read,
  signatureOf,
  signed,
  refused,
} from '#test/engine/room/policed.ts'

const database = await testDatabase()
const { openPoliced, isSigned, arrived, flagsOf } = policedIn(database)

test('a local event is signed by the policy server before anybody has it', async () => {
  await using scene = await openPoliced()
  const { eventId } = await say(scene, scene.roomId, 'hello')
  expect(await isSigned(scene, eventId)).toBe(true)
  expect(scene.asked.map(({ destination, method, uri }) => [destination, method, uri])).toEqual([
    [via, 'POST', '/_matrix/policy/v1/sign'],
  ])
  // Our own signature stays on it.
  const { signatures } = parseJson((await stored(database, scene.roomId, eventId))!.json) as {
    signatures: JsonObject
  }
  expect(Object.keys(signatures).toSorted()).toEqual([via, 'us.test'])
})

test('joins, changes of the state and invites are asked for too, all but what names the policy server', async () => {
  await using scene = await openPoliced()
  const { rooms, roomId, asked } = scene
  await setState(scene, roomId, 'm.room.topic', { topic: 'policed' })
  await rooms.call('join', roomId, { userId: bob, content: '{}', via: [] })
  await setState(scene, roomId, 'm.room.policy', nameIt, 'another')
  await say(scene, roomId, 'hello', bob)
  const change = { sender: alice, target: bob, membership: 'leave', content: '{}' } as const
  await rooms.call('changeMembership', roomId, change)
  expect(asked.map(({ body }) => read(scene.room, body!).type)).toEqual([
    'm.room.topic',
    'm.room.member',
    'm.room.policy',
    'm.room.message',
    'm.room.member',
  ])
  asked.splice(0)
  await setState(scene, roomId, 'm.room.policy', {})
  await say(scene, roomId, 'free again')
  expect(asked).toEqual([])
})

test('a transaction that a policy server had to sign for gives the same event when it comes again', async () => {
  await using scene = await openPoliced()
  const txn = { userId: alice, deviceId: 'D', path: 'send', txnId: '1' }
  const send = () =>
    scene.rooms.call('send', scene.roomId, {
      sender: alice,
      type: 'm.room.message',
      content: '{"body":"once"}',
      txn,
    })
  const [first, second] = await Promise.all([send(), send()])
  expect(second.eventId).toBe(first.eventId)
  expect((await send()).eventId).toBe(first.eventId)
  expect(scene.asked.length).toBe(1)
})

test.each([
  [400, { errcode: 'M_FORBIDDEN', error: 'no' }, [400, 'M_FORBIDDEN']],
  [403, { errcode: 'M_FORBIDDEN', error: 'Your server is kept out' }, [403, 'M_FORBIDDEN']],
  [404, { errcode: 'M_NOT_FOUND', error: 'Unknown room' }, [404, 'M_NOT_FOUND']],
  [404, { errcode: 'M_UNRECOGNIZED', error: 'no' }, [404, 'M_UNRECOGNIZED']],
  [429, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 5 }, [429, 'M_LIMIT_EXCEEDED']],
  // It has no say in whether our user is logged in.
  [403, { errcode: 'M_UNKNOWN_TOKEN', error: 'log out' }, [403, 'M_FORBIDDEN']],
  [401, { errcode: 'M_UNKNOWN_TOKEN', error: 'log out' }, [502, 'M_UNKNOWN']],
  [500, { errcode: 'M_UNKNOWN', error: 'broken' }, [502, 'M_UNKNOWN']],
])('what a policy server answers with %i %o is told to the user', async (status, body, told) => {
  await using scene = await openPoliced(() => refused(status, body))
  expect(await refusal(say(scene, scene.roomId, 'hello'))).toEqual(told as [number, string])
})

test('a user is told the words of the policy server, and what it refused leaves nothing behind', async () => {
  let answer = () => refused()
  await using scene = await openPoliced((event) =>
    answer === signedAll ? signed(event) : answer(),
  )
  const error = (await say(scene, scene.roomId, 'spam').catch((each: unknown) => each)) as Error
  expect(error.message).toBe(spam.error)
  answer = signedAll
  const { eventId } = await say(scene, scene.roomId, 'ham')
  const { pdu } = read(scene.room, (await stored(database, scene.roomId, eventId))!.json)
  const [prev] = pdu['prev_events'] as string[]
  expect(JSON.parse((await stored(database, scene.roomId, prev!))!.json)).toMatchObject({
    type: 'm.room.policy',
  })
})
const signedAll = () => refused()

test('without an answer, with a huge one or with a lie nothing is sent', async () => {
  let answer: (event: RoomEvent) => OutgoingAnswer
  await using scene = await openPoliced((event) => answer(event))
  const send = () => refusal(say(scene, scene.roomId, 'hello'))
  answer = () => {
    throw new RemoteError(via, 0, 'laneway.unreachable', 'it is down')
  }
  expect(await send()).toEqual([504, 'M_UNKNOWN'])
  answer = () => {
    throw new RemoteError(via, 0, 'laneway.answer_too_large', 'it is huge')
  }
  expect(await send()).toEqual([502, 'M_UNKNOWN'])
  const stranger = new MadeUpServer('another key').key
  for (const body of [
    '[]',
    'no JSON',
    '{}',
    '{"other.test":{"ed25519:policy_server":7}}',
    '{"there.test":{"ed25519:policy_server":"abc"}}',
    '{"other.test":{"ed25519:policy_server":"abc"}}',
  ]) {
    answer = () => ({ status: 200, body })
    expect(await send()).toEqual([502, 'M_UNKNOWN'])
  }
  answer = (event) => ({
    status: 200,
    body: JSON.stringify({ [via]: { [policyKeyId]: signatureOf(event, stranger) } }),
  })
  expect(await send()).toEqual([502, 'M_UNKNOWN'])
  expect(scene.asked.every(({ maxBytes }) => maxBytes <= 65_536)).toBe(true)
})

test('while the policy server thinks, the room goes on: nobody waits for another event', async () => {
  const gate = Promise.withResolvers<void>()
  await using scene = await openPoliced(async (event) => {
    if (event.content['body'] === 'slow') await gate.promise
    return signed(event)
  })
  const { roomId, room } = scene
  const slow = say(scene, roomId, 'slow')
  await until(() => scene.asked.length === 1)
  const quick = await say(scene, roomId, 'quick')
  const { event, text } = room.say(mallory, 'from afar')
  await arrived(scene, [text])
  expect(await flagsOf(scene, event.eventId)).toBe(0)
  gate.resolve()
  const { eventId } = await slow
  expect(await isSigned(scene, eventId)).toBe(true)
  expect(await flagsOf(scene, quick.eventId)).toBe(0)
})

test('an event of another server with the signature is taken, and nobody is asked', async () => {
  await using scene = await openPoliced()
  const { room } = scene
  const { event } = room.say(mallory, 'signed there')
  const pdu = structuredClone(event.pdu) as JsonObject
  ;(pdu['signatures'] as JsonObject)[via] = { [policyKeyId]: signatureOf(event) }
  await arrived(scene, [JSON.stringify(pdu)])
  expect(await flagsOf(scene, event.eventId)).toBe(0)
  expect(scene.asked).toEqual([])
})

test('an event of another server without it, or with a wrong one, is asked for, and then has it', async () => {
  await using scene = await openPoliced()
  const { room } = scene
  const bare = room.say(mallory, 'bare')
  const forged = room.say(mallory, 'forged')
  const pdu = structuredClone(forged.event.pdu) as JsonObject
  const wrong = signatureOf(forged.event, new MadeUpServer('another key').key)
  ;(pdu['signatures'] as JsonObject)[via] = { [policyKeyId]: wrong }
  await arrived(scene, [bare.text, JSON.stringify(pdu)])
  for (const { event } of [bare, forged]) {
    expect(await flagsOf(scene, event.eventId)).toBe(0)
    expect(await isSigned(scene, event.eventId)).toBe(true)
  }
  expect(scene.asked.length).toBe(2)
})

test('what the policy server does not sign is soft-failed, and what comes after it is judged alone', async () => {
  await using scene = await openPoliced((event) =>
    event.content['body'] === 'spam' ? refused() : signed(event),
  )
  const { room } = scene
  const bad = room.say(mallory, 'spam')
  const good = room.say(mallory, 'ham')
  await arrived(scene, [bad.text, good.text])
  expect(await flagsOf(scene, bad.event.eventId)).toBe(eventFlags.softFailed)
  expect(await flagsOf(scene, good.event.eventId)).toBe(0)
  // Once for each: what was soft-failed is no news any more.
  await arrived(scene, [bad.text])
  expect(scene.asked.length).toBe(2)
})

test('one that is down is asked again, and then events are soft-failed; nobody else waits for it', async () => {
  await using scene = await openPoliced(() => {
    throw new RemoteError(via, 0, 'laneway.unreachable', 'it is down')
  })
  const { room } = scene
  const texts = Array.from({ length: 20 }, (_, n) => room.say(mallory, `${n}`))
  await arrived(
    scene,
    texts.map(({ text }) => text),
  )
  for (const { event } of texts)
    expect(await flagsOf(scene, event.eventId)).toBe(eventFlags.softFailed)
  expect(scene.asked.length).toBeGreaterThan(1)
  // One request at a time finds out whether it is back.
  expect(scene.asked.length).toBeLessThan(40)
})

test('one that has too much to do is asked again, and then signs', async () => {
  let tooMuch = 3
  await using scene = await openPoliced(
    (event) =>
      tooMuch-- > 0
        ? refused(429, { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1 })
        : signed(event),
    { limits: { ...limits, policyWaitMs: 60_000 } },
  )
  const { event, text } = scene.room.say(mallory, 'patience')
  await arrived(scene, [text])
  expect(await flagsOf(scene, event.eventId)).toBe(0)
  expect(scene.asked.length).toBe(4)
})

test('what the room does not allow is not asked for', async () => {
  await using scene = await openPoliced()
  const { rooms, roomId, room } = scene
  await rooms.call('changeMembership', roomId, {
    sender: alice,
    target: mallory,
    membership: 'ban',
    content: '{}',
  })
  scene.asked.splice(0)
  const { event, text } = room.say(mallory, 'after the ban')
  await arrived(scene, [text])
  expect(await flagsOf(scene, event.eventId)).toBe(eventFlags.softFailed)
  expect(scene.asked).toEqual([])
})

test('a policy server counts only while a user of it is joined, with a valid event, not redacted', async () => {
  await using scene = await openScene(database, { limits })
  const { roomId, rooms, federation } = scene
  federation.answer = () => refused()
  const passes = async () =>
    (await refusal(say(scene, roomId, 'hello')).catch(() => [])).every((each) => each === undefined)
  // Nobody of it is there.
  await setState(scene, roomId, 'm.room.policy', nameIt)
  expect(await passes()).toBe(true)
  federation.answer = ({ body }) => signed(read(scene.room, body!))
  await joinFrom(scene, database, roomId, policy, 'watcher')
  federation.answer = () => refused()
  expect(await passes()).toBe(false)
  for (const content of [
    { via, public_keys: {} },
    { via, public_keys: 'none' },
    { via: 7, public_keys: nameIt.public_keys },
    { via: 'no server name!', public_keys: nameIt.public_keys },
    { public_keys: nameIt.public_keys },
  ]) {
    await setState(scene, roomId, 'm.room.policy', content)
    expect(await passes()).toBe(true)
  }
  const { eventId } = await setState(scene, roomId, 'm.room.policy', nameIt)
  expect(await passes()).toBe(false)
  federation.answer = ({ body }) => signed(read(scene.room, body!))
  await rooms.call('send', roomId, {
    sender: alice,
    type: 'm.room.redaction',
    content: '{}',
    redacts: eventId,
  })
  federation.answer = () => refused()
  expect(await passes()).toBe(true)
})

test('a join that another server hands in is signed before the room has it, or refused', async () => {
  let bad = false
  await using scene = await openPoliced((event) => (bad ? refused() : signed(event)))
  await joinFrom(scene, database, scene.roomId, there, 'guest')
  const { json } = (
    await database.pool<{ json: string }[]>`
    select j.json from events e join event_json j using (shard, event_nid)
    where j.json like ${'%@guest:there.test%'}`
  )[0]!
  expect(hasPolicySignature(read(scene.room, json), { via, publicKey: key.publicKey })).toBe(true)
  bad = true
  expect(await refusal(joinFrom(scene, database, scene.roomId, there, 'second'))).toEqual([
    400,
    'M_FORBIDDEN',
  ])
})

test('an access list that keeps the policy server out does not end its office', async () => {
  await using scene = await openPoliced()
  await setState(scene, scene.roomId, 'm.room.server_acl', { allow: ['*'], deny: [via] })
  const { eventId } = await say(scene, scene.roomId, 'hello')
  expect(await isSigned(scene, eventId)).toBe(true)
})

test('another policy server in the meantime is asked too', async () => {
  const second = new MadeUpServer('key of the second').key
  const rotated = { via, public_keys: { ed25519: second.publicKey } }
  const gate = Promise.withResolvers<void>()
  let by = key
  await using scene = await openPoliced(async (event) => {
    const text = JSON.stringify({ [via]: { [policyKeyId]: signatureOf(event, by) } })
    if (by === key) await gate.promise
    return { status: 200, body: text }
  })
  const sending = say(scene, scene.roomId, 'hello')
  await until(() => scene.asked.length === 1)
  await setState(scene, scene.roomId, 'm.room.policy', rotated)
  by = second
  gate.resolve()
  const { eventId } = await sending
  const event = read(scene.room, (await stored(database, scene.roomId, eventId))!.json)
  expect(hasPolicySignature(event, { via, publicKey: second.publicKey })).toBe(true)
})
