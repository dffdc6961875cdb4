import { expect, test } from 'bun:test'
import { canonicalEvent } from '#core/event/hash.ts'
import { signEvent } from '#core/event/build.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { signaturesOf } from '#core/signing.ts'
import { type RemoteInvite, remoteInvite } from '#engine/room/fetch/invite.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { type Answer, type Question, Residents } from '#test/engine/room/fetch/residents.ts'
import { patienceMs } from '#test/until.ts'

const us = new RemoteServer('us.test')
const them = new RemoteServer('them.test')
const bob = them.user('bob')

function scene(versionId: string) {
  const room = new RemoteRoom(versionId, [us])
  const event = room.build({
    type: 'm.room.member',
    sender: room.creator,
    stateKey: bob,
    content: { membership: 'invite' },
  })
  const residents = new Residents([us, them], [room])
  const version = roomVersions.get(versionId)!
  const state = room.currentState().map(({ pdu }) => canonicalEvent(version, pdu)!)
  const invite: RemoteInvite = {
    federation: residents,
    now: () => 1_700_000_100_000,
    deadlineMs: patienceMs,
    event,
    json: canonicalEvent(version, event.pdu)!,
    inviteRoomState: state,
  }
  const sign = (pdu: JsonObject) => signEvent(version, pdu, them.signing)
  return { room, event, residents, invite, sign, version }
}

/** What the server of the invitee answers. */
const answering =
  (answer: (body: JsonObject, question: Question) => Answer) =>
  (question: Question): Answer =>
    answer(question.body!, question)

test.each(['1', '6', '11', '12'])(
  'an invite to a room of version %s comes back signed',
  async (version) => {
    const { event, residents, invite, sign } = scene(version)
    residents.lie = answering((body) => ({
      status: 200,
      body: { event: { ...sign(body['event'] as JsonObject), unsigned: { evil: true } } },
    }))
    const signed = await remoteInvite(invite)
    expect(signed.event.eventId).toBe(event.eventId)
    expect(signaturesOf(signed.event.pdu, them.name)).toHaveLength(1)
    expect(signaturesOf(signed.event.pdu, us.name)).toHaveLength(1)
    expect(signed.json).not.toContain('evil')
    const [asked] = residents.questions
    expect(asked!.server).toBe(them.name)
    expect(asked!.body!['room_version']).toBe(version)
    expect(asked!.body!['invite_room_state']).toHaveLength(invite.inviteRoomState.length)
  },
)

test('a server that knows the first version of the call only is asked by it, in old rooms', async () => {
  const { residents, invite, sign } = scene('2')
  let calls = 0
  residents.lie = answering((body) => {
    if (calls++ === 0) return { status: 404, body: { errcode: 'M_UNRECOGNIZED', error: '' } }
    const { unsigned: _, ...event } = body
    return { status: 200, body: [200, { event: sign(event) }] }
  })
  const { event } = await remoteInvite(invite)
  expect(signaturesOf(event.pdu, them.name)).toHaveLength(1)
  expect(calls).toBe(2)
  // v3+: there is no older call.
  const later = scene('3')
  later.residents.lie = answering(() => ({ status: 404, body: {} }))
  await expect(remoteInvite(later.invite)).rejects.toMatchObject({ status: 404 })
  expect(later.residents.questions).toHaveLength(1)
})

const lies: [string, (event: JsonObject, sign: (pdu: JsonObject) => JsonObject) => JsonObject][] = [
  ['unsigned', (event) => event],
  ['with other content', (event, sign) => sign({ ...event, content: { membership: 'join' } })],
  ['with more keys', (event, sign) => sign({ ...event, evil: true })],
  [
    'with a forged signature',
    (event) => ({
      ...event,
      signatures: {
        ...(event['signatures'] as JsonObject),
        [them.name]: { [them.key.keyId]: 'A'.repeat(86) },
      },
    }),
  ],
]

test.each(lies)('an invite that comes back %s is refused', async (_, lie) => {
  for (const version of ['1', '11']) {
    const { residents, invite, sign } = scene(version)
    residents.lie = answering((body) => ({
      status: 200,
      body: { event: lie(body['event'] as JsonObject, sign) },
    }))
    await expect(remoteInvite(invite)).rejects.toMatchObject({ status: 502 })
  }
})

test('why the other server refuses is told', async () => {
  const { residents, invite } = scene('12')
  const refuse = (status: number, errcode: string) =>
    answering(() => ({ status, body: { errcode, error: 'because' } }))
  residents.lie = refuse(403, 'M_FORBIDDEN')
  await expect(remoteInvite(invite)).rejects.toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' })
  residents.lie = refuse(403, 'M_INVITE_BLOCKED')
  await expect(remoteInvite(invite)).rejects.toMatchObject({
    status: 403,
    errcode: 'M_INVITE_BLOCKED',
  })
  residents.lie = refuse(400, 'M_INVALID_PARAM')
  await expect(remoteInvite(invite)).rejects.toMatchObject({ status: 502 })
  residents.lie = refuse(400, 'M_INCOMPATIBLE_ROOM_VERSION')
  await expect(remoteInvite(invite)).rejects.toMatchObject({
    status: 400,
    errcode: 'M_UNSUPPORTED_ROOM_VERSION',
  })
  residents.lie = () => undefined
  await expect(remoteInvite({ ...invite, deadlineMs: 20 })).rejects.toMatchObject({ status: 504 })
})
