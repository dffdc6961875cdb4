import { afterAll, expect, test } from 'bun:test'
import { parsePdu } from '#core/event/check.ts'
import { redactedText } from '#core/event/hash.ts'
import { hasPolicySignature, policyKeyId } from '#core/event/policy.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { makeSigningKey } from '#core/signing.ts'
import { eventFlags } from '#store/room/batch.ts'
import type { Person } from '#test/api/server-server/two-homes.ts'
import type { Peer } from '#test/peer.ts'
import { until } from '#test/until.ts'
import { Home } from './home.ts'

const home = await Home.open('policy.test', 'peer.test')
afterAll(() => home.remove())
const [policy, peer] = home.peers as [Peer, Peer]
const via = policy.serverName
const key = makeSigningKey(crypto.getRandomValues(new Uint8Array(32)))
const version = roomVersions.get('11')!

/** What the policy server says of an event, by its body; `sign` unless told. */
let verdict: (body: unknown) => Promise<Response | 'sign'> | Response | 'sign' = () => 'sign'
let asked = 0

function read(pdu: JsonObject, roomId: string) {
  const parsed = parsePdu(version, pdu, { roomId, anyListLength: true })
  if ('refused' in parsed) throw new Error(parsed.refused)
  return parsed.ok
}

policy.handler = (request, url) =>
  url.pathname === '/_matrix/policy/v1/sign' ? sign(request) : undefined

async function sign(request: Request): Promise<{ status: number; body: JsonObject }> {
  asked++
  const pdu = (await request.json()) as JsonObject
  const said = await verdict((pdu['content'] as JsonObject)['body'])
  if (said !== 'sign') return { status: said.status, body: (await said.json()) as JsonObject }
  const event = read(pdu, pdu['room_id'] as string)
  const signature = key.sign(redactedText(version, event.pdu)!)
  return { status: 200, body: { [via]: { [policyKeyId]: signature } } }
}

/** A room of alice that the policy server guards, with a user of the peer in it. */
async function policed(alice: Person) {
  verdict = () => 'sign'
  const roomId = await home.room(alice)
  await home.joined(policy, roomId, 'watcher')
  const room = await home.joined(peer, roomId, 'bob')
  const content = { via, public_keys: { ed25519: key.publicKey } }
  const path = `rooms/${encodeURIComponent(roomId)}/state/m.room.policy/`
  await alice.do('PUT', path, content)
  return { roomId, room }
}

const received = (eventBody: string) =>
  peer.received
    .flatMap(({ pdus }) => pdus)
    .find(({ content }) => (content as JsonObject)['body'] === eventBody)

test('what a local user says reaches other servers with the signature of the policy server', async () => {
  const alice = await home.server.person('alice')
  const { roomId } = await policed(alice)
  await alice.say(roomId, 'over real HTTP')
  await until(() => received('over real HTTP') !== undefined)
  const event = read(received('over real HTTP')!, roomId)
  expect(hasPolicySignature(event, { via, publicKey: key.publicKey })).toBe(true)
})

test('what it refuses, and with which words, the client is told; nobody else ever gets it', async () => {
  const alice = await home.server.person('anna')
  const { roomId } = await policed(alice)
  const error = { errcode: 'M_FORBIDDEN', error: 'The message appears to contain possible spam' }
  verdict = (body) => (body === 'spam' ? Response.json(error, { status: 400 }) : 'sign')
  const path = `rooms/${encodeURIComponent(roomId)}/send/m.room.message/1`
  const answer = await alice.ask('PUT', path, { msgtype: 'm.text', body: 'spam' })
  expect(answer).toEqual({ status: 400, body: error })
  await alice.say(roomId, 'after it')
  await until(() => received('after it') !== undefined)
  expect(received('spam')).toBeUndefined()
  expect(await alice.texts(roomId)).toEqual(['after it'])
  // The same transaction may be sent again, when the policy server thinks otherwise.
  verdict = () => 'sign'
  expect((await alice.ask('PUT', path, { msgtype: 'm.text', body: 'spam' })).status).toBe(200)
})

test('an answer that is huge is no signature', async () => {
  const alice = await home.server.person('agnes')
  const { roomId } = await policed(alice)
  verdict = () => Response.json({ x: 'x'.repeat(5_000_000) })
  const path = `rooms/${encodeURIComponent(roomId)}/send/m.room.message/1`
  const answer = await alice.ask('PUT', path, { msgtype: 'm.text', body: 'hello' })
  expect([answer.status, answer.body.errcode]).toEqual([502, 'M_UNKNOWN'])
})

test('one that does not answer holds up nothing but what it was asked for', async () => {
  const alice = await home.server.person('aurora')
  const { roomId, room } = await policed(alice)
  const other = await home.room(alice)
  const gate = Promise.withResolvers<'sign'>()
  verdict = (body) => (String(body).startsWith('slow') ? gate.promise : 'sign')
  asked = 0
  const slow = alice.say(roomId, 'slow')
  const bob = peer.user('bob')
  const fromAfar = room.copy().say(bob, 'slow from afar')
  await home.send(peer, [fromAfar])
  await until(() => asked === 2)
  // The same room, another one, and a server that comes with the event of the other.
  await alice.say(roomId, 'quick')
  await alice.say(other, 'elsewhere')
  const quick = room.say(bob, 'quick from afar')
  await home.send(peer, [quick])
  await until(async () => (await home.stored(quick)) !== undefined)
  expect(await home.stored(fromAfar)).toBeUndefined()
  expect(await alice.texts(roomId)).toEqual(['quick', 'quick from afar'])
  gate.resolve('sign')
  await slow
  await until(async () => (await home.stored(fromAfar))?.flags === 0)
})

test('an event that was signed nowhere and is refused is soft-failed: it is kept, and not shown', async () => {
  const alice = await home.server.person('ada')
  const { roomId, room } = await policed(alice)
  verdict = (body) =>
    body === 'spam' ? Response.json({ errcode: 'M_FORBIDDEN' }, { status: 403 }) : 'sign'
  const bob = peer.user('bob')
  const spam = room.say(bob, 'spam')
  const ham = room.say(bob, 'ham')
  await home.send(peer, [spam, ham])
  await until(async () => (await home.stored(ham)) !== undefined)
  expect((await home.stored(spam))!.flags).toBe(eventFlags.softFailed)
  expect(await alice.texts(roomId)).toEqual(['ham'])
})
