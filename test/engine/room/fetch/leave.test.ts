import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { MatrixError } from '#core/error.ts'
import { parsePdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { localLeave, type RemoteLeave, remoteLeave } from '#engine/room/fetch/leave.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'
import { patienceMs } from '#test/until.ts'

const us = new RemoteServer('us.test')
const first = new RemoteServer('first.test')
const second = new RemoteServer('second.test')
const userId = us.user('alice')

function scene(version: string) {
  const room = new RemoteRoom(version, [first, second])
  const invite = room.send({
    type: 'm.room.member',
    sender: room.creator,
    stateKey: userId,
    content: { membership: 'invite' },
  })
  const residents = new Residents([us, first, second], [room])
  const leave: RemoteLeave = {
    federation: residents,
    now: () => 1_700_000_100_000,
    deadlineMs: patienceMs,
    roomId: room.roomId,
    userId,
    content: { reason: 'No, thank you' },
    via: [first.name, second.name],
    version,
    signing: us.signing,
  }
  return { room, invite, residents, leave }
}

const expectLeave = (event: RoomEvent, invite: RoomEvent) => {
  expect(event).toMatchObject({
    type: 'm.room.member',
    roomId: invite.roomId,
    sender: userId,
    stateKey: userId,
    content: { membership: 'leave', reason: 'No, thank you' },
  })
  expect(event.prevEvents).toEqual([invite.eventId])
}

test.each(['1', '6', '11', '12'])(
  'an invite to a room of version %s is rejected',
  async (version) => {
    const { invite, residents, leave } = scene(version)
    const { event, json, server } = await remoteLeave(leave)
    expectLeave(event, invite)
    expect(server).toBe(first.name)
    const [sent] = residents.asked('send_leave')
    expect(sent!.parts).toEqual([leave.roomId, event.eventId])
    expect(sent!.body).toEqual(parseJson(json) as JsonObject)
  },
)

test('a leave that one server does not take is made anew with another', async () => {
  const { residents, leave } = scene('10')
  residents.lie = ({ name, server }, answer) =>
    name === 'send_leave' && server === first.name ? { status: 500, body: {} } : answer
  expect((await remoteLeave(leave)).server).toBe(second.name)
  expect(residents.asked('make_leave')).toHaveLength(2)
})

test.each<[string, JsonObject]>([
  ['type', { type: 'm.room.name' }],
  ['room_id', { room_id: '!other:first.test' }],
  ['sender', { sender: '@bob:us.test' }],
  ['state_key', { state_key: '@bob:us.test' }],
  ['membership', { content: { membership: 'join' } }],
  ['prev_events', { prev_events: 5 }],
])('a leave template with another %s is not signed (CVE-2026-24471)', async (what, change) => {
  const { residents, leave } = scene('11')
  residents.lie = ({ name }, { status, body }) =>
    name === 'make_leave'
      ? {
          status,
          body: {
            ...(body as JsonObject),
            event: { ...((body as JsonObject)['event'] as JsonObject), ...change },
          },
        }
      : { status, body }
  await expect(remoteLeave(leave)).rejects.toThrow(what)
  expect(residents.asked('send_leave')).toEqual([])
})

test('a template of another room version than the invite told is not signed', async () => {
  const { residents, leave } = scene('11')
  await expect(remoteLeave({ ...leave, version: '10' })).rejects.toThrow('another room version')
  expect(residents.asked('send_leave')).toEqual([])
})

test('a room version that we do not know is not signed', async () => {
  const { leave } = scene('11')
  const error = await remoteLeave({ ...leave, version: '99' }).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(MatrixError)
})

test('servers that never answer cost no more than the deadline', async () => {
  const { residents, leave } = scene('11')
  residents.lie = () => undefined
  const error = await remoteLeave({ ...leave, deadlineMs: 20 }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ status: 504 })
})

test.each(['1', '12'])('without any server the leave follows the invite, version %s', (version) => {
  const { invite, leave } = scene(version)
  const { event, json } = localLeave(invite, leave.content, leave)
  expectLeave(event, invite)
  expect(event.authEvents).toContain(invite.eventId)
  expect(event.depth).toBe(invite.depth + 1)
  expect(parsePdu(invite.version, parseJson(json))).toMatchObject({
    ok: { eventId: event.eventId },
  })
})
