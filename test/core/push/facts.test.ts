import { expect, test } from 'bun:test'
import { mentionedUsers, pushFacts, pushFactsOf } from '#core/push/facts.ts'
import type { JsonObject } from '#core/json.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'

const hs = new MadeUpServer('hs.test')
const alice = hs.user('alice')
const bob = hs.user('bob')
const room = MadeUpRoom.create('11', alice, hs)
room.member(bob, bob, 'join')
const state = {
  create: room.lookup('m.room.create', ''),
  powerLevels: room.lookup('m.room.power_levels', ''),
}
const { notify, highlight, threaded, roomNotifier } = pushFacts
const factsOf = (sender: string, type: string, content: JsonObject, stateKey?: string) => {
  const wish = stateKey === undefined ? { aside: true } : { aside: true, stateKey }
  return pushFactsOf(room.add(sender, type, content, wish).event, state) & (notify | highlight)
}
const text = { msgtype: 'm.text', body: 'x' }

test('messages notify, also encrypted ones and calls; notices, reactions and edits do not', () => {
  expect(factsOf(bob, 'm.room.message', text)).toBe(notify)
  expect(factsOf(bob, 'm.room.encrypted', {})).toBe(notify)
  expect(factsOf(bob, 'm.call.invite', {})).toBe(notify)
  expect(factsOf(bob, 'm.room.message', { ...text, msgtype: 'm.notice' })).toBe(0)
  expect(factsOf(bob, 'm.reaction', {})).toBe(0)
  const edit = { rel_type: 'm.replace', event_id: '$x' }
  expect(factsOf(bob, 'm.room.message', { ...text, 'm.relates_to': edit })).toBe(0)
  expect(factsOf(alice, 'm.room.name', { name: 'x' }, '')).toBe(0)
})

test('the whole room is mentioned by those who may, and a tombstone is for all', () => {
  const all = { ...text, 'm.mentions': { room: true } }
  expect(factsOf(alice, 'm.room.message', all)).toBe(notify | highlight)
  expect(factsOf(bob, 'm.room.message', all)).toBe(notify)
  expect(factsOf(alice, 'm.room.message', { ...all, msgtype: 'm.notice' })).toBe(0)
  expect(factsOf(alice, 'm.room.tombstone', {}, '')).toBe(notify | highlight)
})

test('users are mentioned by name, each once, not by themselves, and not by what is no list', () => {
  const named = (content: JsonObject) =>
    mentionedUsers(room.add(alice, 'm.room.message', content, { aside: true }).event)
  expect(named({ ...text, 'm.mentions': { user_ids: [bob, bob, alice, 7] } })).toEqual([bob])
  expect(named({ ...text, 'm.mentions': { user_ids: bob } })).toEqual([])
  expect(named({ ...text, 'm.mentions': null })).toEqual([])
  expect(named({ msgtype: 'm.notice', 'm.mentions': { user_ids: [bob] } })).toEqual([])
})

test('whether an event is in a thread, and whether its sender may notify all, is kept as well', () => {
  const all = (sender: string, content: JsonObject) =>
    pushFactsOf(room.add(sender, 'm.room.message', content, { aside: true }).event, state)
  const inThread = { ...text, 'm.relates_to': { rel_type: 'm.thread', event_id: '$root' } }
  expect(all(bob, inThread)).toBe(notify | threaded)
  expect(all(alice, text)).toBe(notify | roomNotifier)
  expect(all(bob, { ...inThread, msgtype: 'm.notice' })).toBe(threaded)
})
