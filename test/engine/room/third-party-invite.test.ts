import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { signEvent } from '#core/event/build.ts'
import type { JsonObject } from '#core/json.ts'
import { signJson } from '#core/signing.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  alice,
  bob,
  deliver,
  inboxIsEmpty,
  refusal,
  setState,
  stored,
  until,
  us,
} from '#test/room-engine.ts'
import { mallory, openScene, other, type Scene, there } from './scene.ts'
import { membership } from './serving.ts'

const database = await testDatabase()

/** Who knows addresses of people. */
const identity = new MadeUpServer('identity.test')

const offer = { display_name: 'b...@example.org', public_key: identity.key.publicKey }

const redeemed = (target: string, token = 'token', by = identity): string =>
  JSON.stringify({
    third_party_invite: {
      display_name: target,
      signed: signJson({ mxid: target, token }, by.name, by.key),
    },
  })

const invite = ({ rooms, roomId }: Scene, sender: string, target: string, content: string) =>
  rooms.call('changeMembership', roomId, { sender, target, membership: 'invite', content })

test.each(['1', '5', '8', '11', '12'])(
  'in version %s an address that alice invited becomes the invite of the user who has it',
  async (version) => {
    await using scene = await openScene(database, { version })
    await setState(scene, scene.roomId, 'm.room.third_party_invite', offer, 'token')
    await invite(scene, alice, bob, redeemed(bob))
    expect(await membership(database, scene.roomId, bob)).toBe('invite')
  },
)

test('one that a user of another server made is redeemed here, with our signature alone', async () => {
  await using scene = await openScene(database, {
    wish: { powerLevelOverride: { users: { [mallory]: 50 } } },
  })
  const { roomId, room } = scene
  const made = room.add(mallory, 'm.room.third_party_invite', offer, { stateKey: 'token' })
  await deliver(scene, database, roomId, there, [made.text])
  await until(inboxIsEmpty(database, roomId))
  const { eventId } = await invite(scene, mallory, bob, redeemed(bob))
  const { json, flags } = (await stored(database, roomId, eventId))!
  expect(flags).toBe(0)
  const { sender, signatures } = parseJson(json) as JsonObject
  expect([sender, Object.keys(signatures as JsonObject)]).toEqual([mallory, [us.name]])
})

test('a user of another server is invited through that server, which signs too', async () => {
  await using scene = await openScene(database)
  await setState(scene, scene.roomId, 'm.room.third_party_invite', offer, 'token')
  const guest = other.user('guest')
  scene.federation.answer = ({ destination, uri, body }) => {
    expect([destination, uri.startsWith('/_matrix/federation/v2/invite/')]).toEqual([
      other.name,
      true,
    ])
    const { event } = parseJson(body!) as { event: JsonObject }
    const signed = signEvent(scene.room.version, event, { serverName: other.name, key: other.key })
    return { status: 200, body: JSON.stringify({ event: signed }) }
  }
  const { eventId } = await invite(scene, alice, guest, redeemed(guest))
  expect(await membership(database, scene.roomId, guest)).toBe('invite')
  const { signatures } = parseJson((await stored(database, scene.roomId, eventId))!.json) as {
    signatures: JsonObject
  }
  expect(Object.keys(signatures).toSorted()).toEqual([other.name, us.name])
})

test('nobody is invited by a wrong key, an unknown token, for another user, or in another name', async () => {
  await using scene = await openScene(database)
  await setState(scene, scene.roomId, 'm.room.third_party_invite', offer, 'token')
  const forbidden = [403, 'M_FORBIDDEN'] as [number, string]
  for (const [sender, content] of [
    [alice, redeemed(bob, 'token', there)],
    [alice, redeemed(bob, 'unknown')],
    [alice, redeemed(mallory)],
    [mallory, redeemed(bob)],
    [alice, '{"third_party_invite":{}}'],
    [alice, '{"third_party_invite":{"signed":{"mxid":7}}}'],
  ] as const)
    expect(await refusal(invite(scene, sender, bob, content))).toEqual(forbidden)
  expect(await membership(database, scene.roomId, bob)).toBeUndefined()
})
