import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { inspectPdu } from '#core/event/check.ts'
import type { JsonObject } from '#core/json.ts'
import { MadeUpRoom, type MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  alice,
  deliver,
  inboxIsEmpty,
  openStage,
  refusal,
  type Stage,
  until,
} from '#test/room-engine.ts'
import { mallory, other, there } from '#test/engine/room/scene.ts'
import { membership, third } from '#test/engine/room/serving.ts'

const database = await testDatabase()
const stranger = third.user('stranger')

/** A room of two other servers that admits knocks; one of them takes those of our users. */
function elsewhere(): MadeUpRoom {
  const room = MadeUpRoom.create('11', mallory, there, other)
  room.roomId = `!${crypto.randomUUID()}:${there.name}`
  room.add(mallory, 'm.room.join_rules', { join_rule: 'knock' }, { stateKey: '' })
  return room
}

function taking(stage: Stage, room: MadeUpRoom, state: unknown): void {
  stage.federation.answer = ({ uri, body }) => {
    if (uri.includes('/make_knock/')) {
      const { event } = room.make(
        mallory,
        'm.room.member',
        { membership: 'knock' },
        { stateKey: alice },
      )
      const template = { ...event.pdu, sender: alice }
      return {
        status: 200,
        body: JSON.stringify({ room_version: room.version.id, event: template }),
      }
    }
    const inspected = inspectPdu(room.version, parseJson(body!), { roomId: room.roomId })
    if (typeof inspected === 'string') throw new Error(inspected)
    const { event } = inspected
    room.events.set(event.eventId, { event, text: body! })
    room.state.set(`m.room.member ${alice}`, event)
    return { status: 200, body: JSON.stringify({ knock_room_state: state }) }
  }
}

const knock = ({ rooms }: Stage, { roomId }: MadeUpRoom) =>
  rooms.call('knock', roomId, { userId: alice, content: '{}', via: [other.name] })

async function turnAway(stage: Stage, room: MadeUpRoom, server: MadeUpServer, sender: string) {
  const wish = { stateKey: alice, signedBy: server }
  const { text } = room.make(sender, 'm.room.member', { membership: 'leave' }, wish)
  await deliver(stage, database, room.roomId, server, [text])
  await until(inboxIsEmpty(database, room.roomId))
  return membership(database, room.roomId, alice)
}

test('a knock is refused by the server that took it, and by those who made the room, not by others', async () => {
  await using stage = await openStage(database, [there, other, third])
  for (const [server, sender, left] of [
    [other, other.user('helper'), 'leave'],
    [there, mallory, 'leave'],
    [third, stranger, 'knock'],
  ] as const) {
    const room = elsewhere()
    taking(stage, room, [room.state.get('m.room.create ')!.pdu as JsonObject])
    await knock(stage, room)
    expect(await membership(database, room.roomId, alice)).toBe('knock')
    expect(await turnAway(stage, room, server, sender)).toBe(left)
  }
  expect(stage.drops).toEqual(['third.test: we are not in the room'])
})

test('what a server says of the room it was knocked at need not make sense', async () => {
  await using stage = await openStage(database, [there, other])
  for (const state of [undefined, 'none', [1, null, { type: 7 }]]) {
    const room = elsewhere()
    taking(stage, room, state)
    await knock(stage, room)
    expect(await membership(database, room.roomId, alice)).toBe('knock')
  }
})

test('a template of something else is not signed (CVE-2026-24471)', async () => {
  await using stage = await openStage(database, [there, other])
  const room = elsewhere()
  taking(stage, room, [])
  const honest = stage.federation.answer
  stage.federation.answer = async (request) => {
    const answer = await honest(request)
    return { ...answer, body: answer.body.replace('"knock"', '"join"') }
  }
  expect(await refusal(knock(stage, room))).toEqual([502, 'M_UNKNOWN'])
  expect(await membership(database, room.roomId, alice)).toBeUndefined()
})
