import { expect, test } from 'bun:test'
import { parseEdu } from '#core/event/edu.ts'
import type { Json, JsonObject } from '#core/json.ts'

const parse = (edu_type: Json, content: Json) => parseEdu({ edu_type, content }, 'hs1')

test('what is no EDU, or of an unknown kind, is refused with a reason', () => {
  for (const json of [null, 5, [], {}, { edu_type: 5, content: {} }, { edu_type: 'm.typing' }])
    expect(parseEdu(json, 'hs1')).toBe('The EDU has no type or no content')
  expect(parse('m.new', {})).toBe('The EDU is of an unknown type')
  expect(parse('constructor', {})).toBe('The EDU is of an unknown type')
})

test('m.typing is of one user of the origin in one room', () => {
  const typing = { room_id: '!r:hs2', user_id: '@a:hs1', typing: true }
  expect(parse('m.typing', typing)).toEqual({
    type: 'm.typing',
    roomId: '!r:hs2',
    userId: '@a:hs1',
    typing: true,
  })
  expect(parse('m.typing', { ...typing, typing: 'yes' })).toMatchObject({ typing: false })
  for (const change of [
    { user_id: '@a:hs2' },
    { user_id: 5 },
    { room_id: 'r' },
    { user_id: '@é:hs1' },
  ])
    expect(parse('m.typing', { ...typing, ...change })).toBeString()
})

test('m.presence keeps the sound updates of the origin’s own users', () => {
  const push = [
    {
      user_id: '@a:hs1',
      presence: 'online',
      last_active_ago: 5,
      currently_active: true,
      status_msg: 'x',
    },
    { user_id: '@b:hs1', presence: 'offline', last_active_ago: -5 },
    { user_id: '@c:hs2', presence: 'online', last_active_ago: 5 },
    { user_id: '@d:hs1', presence: 'busy', last_active_ago: 5 },
    { presence: 'online' },
    null,
  ]
  expect(parse('m.presence', { push })).toEqual({
    type: 'm.presence',
    updates: [
      {
        userId: '@a:hs1',
        presence: 'online',
        statusMsg: 'x',
        lastActiveAgo: 5,
        currentlyActive: true,
      },
      {
        userId: '@b:hs1',
        presence: 'offline',
        statusMsg: undefined,
        lastActiveAgo: 0,
        currentlyActive: false,
      },
    ],
  })
  expect(parse('m.presence', { push: {} })).toBeString()
})

test('m.receipt keeps public receipts of the origin’s own users', () => {
  const read = (changes: JsonObject = {}) => ({ event_ids: ['$e'], data: { ts: 5 }, ...changes })
  const content = {
    '!r:hs2': {
      'm.read': {
        '@a:hs1': read({ data: { ts: 5, thread_id: 'main' } }),
        '@b:hs1': read({ data: {} }),
        '@c:hs2': read(),
        '@d:hs1': read({ event_ids: [] }),
        '@e:hs1': read({ event_ids: 'x' }),
        '@f:hs1': read({ data: { thread_id: 5 } }),
        '@g:hs1': read({ data: null }),
        '@h:hs1': null,
      },
      'm.read.private': { '@a:hs1': read() },
    },
    room: { 'm.read': { '@a:hs1': read() } },
    '!s:hs2': null,
  }
  expect(parse('m.receipt', content)).toEqual({
    type: 'm.receipt',
    receipts: [
      { roomId: '!r:hs2', userId: '@a:hs1', eventId: '$e', threadId: 'main', ts: 5 },
      { roomId: '!r:hs2', userId: '@b:hs1', eventId: '$e', threadId: undefined, ts: 0 },
    ],
  })
})

test('m.direct_to_device carries messages from a user of the origin to devices', () => {
  const edu = {
    sender: '@a:hs1',
    type: 'm.room_key',
    message_id: 'id1',
    messages: {
      '@b:hs2': { DEV: { x: 1 }, '*': { y: 2 }, BAD: 5 },
      user: { DEV: {} },
      '@c:hs2': [],
    },
  }
  expect(parse('m.direct_to_device', edu)).toEqual({
    type: 'm.direct_to_device',
    sender: '@a:hs1',
    messageType: 'm.room_key',
    messageId: 'id1',
    messages: [
      { userId: '@b:hs2', deviceId: 'DEV', content: { x: 1 } },
      { userId: '@b:hs2', deviceId: '*', content: { y: 2 } },
    ],
  })
  for (const change of [
    { sender: '@a:hs2' },
    { type: 5 },
    { message_id: null },
    { messages: [] },
    { message_id: 'a\0' },
  ])
    expect(parse('m.direct_to_device', { ...edu, ...change })).toBeString()
})

test('m.device_list_update tells of one device of a user of the origin', () => {
  const edu = {
    user_id: '@a:hs1',
    device_id: 'DEV',
    stream_id: 6,
    prev_id: [5],
    keys: { a: 1 },
    device_display_name: 'Mobile',
  }
  expect(parse('m.device_list_update', edu)).toEqual({
    type: 'm.device_list_update',
    userId: '@a:hs1',
    deviceId: 'DEV',
    streamId: 6,
    prevIds: [5],
    deleted: false,
    displayName: 'Mobile',
    keys: { a: 1 },
  })
  const { prev_id: _, ...first } = edu
  expect(parse('m.device_list_update', first)).toMatchObject({ prevIds: [] })
  expect(parse('m.device_list_update', { ...edu, deleted: true })).toMatchObject({ deleted: true })
  for (const change of [
    { user_id: '@a:hs2' },
    { device_id: 5 },
    { stream_id: '6' },
    { prev_id: 5 },
    { prev_id: ['5'] },
    { stream_id: 1.5 },
  ])
    expect(parse('m.device_list_update', { ...edu, ...change })).toBeString()
})

test('m.signing_key_update tells of the keys of a user of the origin', () => {
  const edu = { user_id: '@a:hs1', master_key: { keys: {} }, self_signing_key: 5 }
  expect(parse('m.signing_key_update', edu)).toEqual({
    type: 'm.signing_key_update',
    userId: '@a:hs1',
    masterKey: { keys: {} },
    selfSigningKey: undefined,
  })
  expect(parse('m.signing_key_update', { ...edu, user_id: '@a:hs2' })).toBeString()
})
