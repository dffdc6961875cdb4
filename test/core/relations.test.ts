import { expect, test } from 'bun:test'
import type { Json, JsonObject } from '#core/json.ts'
import {
  annotationOf,
  canBeThreadRoot,
  compareReplacements,
  isReplacement,
  relationOf,
  repliesTo,
  threadRootOf,
} from '#core/relations.ts'

const relates = (value: Json): JsonObject => ({ 'm.relates_to': value })
const to = (rel_type: string, more: JsonObject = {}) =>
  relates({ rel_type, event_id: '$parent', ...more })

test('a relation has a type and a parent', () => {
  expect(relationOf(to('m.x', { key: 'k' }))).toEqual({
    relType: 'm.x',
    eventId: '$parent',
    key: 'k',
  })
  expect(relationOf(to('m.x', { key: 5 }))).toMatchObject({ key: undefined })
  for (const value of [
    null,
    5,
    [],
    {},
    { rel_type: 'm.x' },
    { event_id: '$x' },
    { rel_type: 5, event_id: '$x' },
    { rel_type: 'm.x', event_id: 'a\0' },
  ])
    expect(relationOf(relates(value))).toBeUndefined()
  expect(relationOf({})).toBeUndefined()
})

test('a reply is no relation, but stands beside one', () => {
  const reply = { 'm.in_reply_to': { event_id: '$answered' } }
  expect(repliesTo(relates(reply))).toBe('$answered')
  expect(relationOf(relates(reply))).toBeUndefined()
  expect(repliesTo(to('m.thread', reply))).toBe('$answered')
  expect(threadRootOf(to('m.thread', reply))).toBe('$parent')
  expect(threadRootOf(to('m.reference'))).toBeUndefined()
  for (const value of [{}, { 'm.in_reply_to': 5 }, { 'm.in_reply_to': { event_id: 5 } }])
    expect(repliesTo(relates(value))).toBeUndefined()
})

test('a thread starts at an event that is no child; a reply is none', () => {
  expect(canBeThreadRoot({ body: 'x' })).toBe(true)
  expect(canBeThreadRoot(relates({ 'm.in_reply_to': { event_id: '$x' } }))).toBe(true)
  for (const type of ['m.thread', 'm.replace', 'm.annotation', 'm.new'])
    expect(canBeThreadRoot(to(type))).toBe(false)
})

test('annotations are the same if parent, type and key are', () => {
  expect(annotationOf({ type: 'm.reaction', content: to('m.annotation', { key: '👍' }) })).toEqual({
    eventId: '$parent',
    type: 'm.reaction',
    key: '👍',
  })
  expect(
    annotationOf({ type: 'm.reaction', content: to('m.thread', { key: '👍' }) }),
  ).toBeUndefined()
})

test('an edit is valid only of one’s own message of the same type that is no edit', () => {
  const base = { roomId: '!r', sender: '@a:b', type: 'm.room.message', stateKey: undefined }
  const original = { ...base, content: {} }
  const edit = { ...base, content: { ...to('m.replace'), 'm.new_content': {} } }
  expect(isReplacement(original, edit)).toBe(true)
  expect(isReplacement({ ...original, content: to('m.thread') }, edit)).toBe(true)
  for (const change of [
    { roomId: '!s' },
    { sender: '@b:b' },
    { type: 'm.sticker' },
    { stateKey: '' },
    { content: to('m.replace') },
    { content: { ...to('m.thread'), 'm.new_content': {} } },
    { content: { ...to('m.replace'), 'm.new_content': 'x' } },
  ])
    expect(isReplacement(original, { ...edit, ...change })).toBe(false)
  expect(isReplacement({ ...original, stateKey: '' }, edit)).toBe(false)
  expect(isReplacement({ ...original, content: to('m.replace') }, edit)).toBe(false)
  // The new content of an encrypted edit cannot be seen.
  const type = 'm.room.encrypted'
  expect(isReplacement({ ...original, type }, { ...edit, type, content: to('m.replace') })).toBe(
    true,
  )
})

test('the most recent edit is the later one, then the one with the larger ID', () => {
  const at = (originServerTs: number, eventId: string) => ({ originServerTs, eventId })
  const edits = [at(2, '$a'), at(1, '$z'), at(2, '$b')]
  expect(edits.sort(compareReplacements).at(-1)).toEqual(at(2, '$b'))
  expect(compareReplacements(at(1, '$a'), at(1, '$a'))).toBe(0)
})
