import { describe, expect, test } from 'bun:test'
import { authorizeCreate } from '#core/auth/create.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { makeEvent, type Draft } from '#test/differential/make-event.ts'
import { blank, creator, from, roomId, until, versions, wordsOf } from './stage.ts'

function judge(
  version: RoomVersion,
  content: JsonObject,
  more: Partial<Draft> = {},
  room?: string,
) {
  const id = room ?? (version.createEventIsRoomId ? undefined : roomId)
  const draft = { ...blank, type: 'm.room.create', stateKey: '', sender: creator, content, ...more }
  return wordsOf(authorizeCreate(makeEvent(version, id, draft)))
}

const sound = (version: RoomVersion): JsonObject => (version.creatorInContent ? { creator } : {})

describe.each(versions)('rule 1 of version $id', (version) => {
  test('lets a room begin', () => {
    expect(judge(version, sound(version))).toBe('allow')
    expect(judge(version, { ...sound(version), room_version: version.id })).toBe('allow')
  })

  test('refuses a create event that follows another event', () => {
    expect(judge(version, sound(version), { prevEvents: ['$x:a.example'] })).toBe(
      'A create event cannot follow another event',
    )
  })

  test.each<[Json]>([['99'], [1], [null], ['__proto__']])('refuses room version %j', (named) => {
    expect(judge(version, { ...sound(version), room_version: named })).toBe(
      'The create event names an unknown room version',
    )
  })
})

test.each(until(11))('the room ID of version $id is of the server of the sender', (version) => {
  expect(judge(version, sound(version), {}, '!room:b.example')).toBe(
    'The room ID and the sender of the create event are of different servers',
  )
})

test.each(from(12))('a create event of version $id names no room', (version) => {
  expect(judge(version, {}, {}, roomId)).toBe('A create event cannot name its room')
})

test.each(until(10))('version $id wants a creator', (version) => {
  expect(judge(version, {})).toBe('The create event names no creator')
})

test.each(until(11))('version $id does not look at additional creators', (version) => {
  expect(judge(version, { ...sound(version), additional_creators: 5 })).toBe('allow')
})

describe.each(from(12))('additional creators of version $id', (version) => {
  test.each<[Json]>([[[]], [['@bob:b.example']], [['@ödd:b.example:80', '@x:[::1]']]])(
    'may be %j',
    (additional) => {
      expect(judge(version, { additional_creators: additional })).toBe('allow')
    },
  )

  test.each<[Json]>([[null], ['@bob:b.example'], [{}], [['bob']], [['@bob']], [[5]], [['@bob:']]])(
    'cannot be %j',
    (additional) => {
      expect(judge(version, { additional_creators: additional })).toBe(
        'additional_creators is not a list of user IDs',
      )
    },
  )
})
