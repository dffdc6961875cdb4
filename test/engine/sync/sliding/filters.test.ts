import { describe, expect, test } from 'bun:test'
import { RequiredState } from '#engine/sync/sliding/required-state.ts'
import type { Filters } from '#engine/sync/sliding/request.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { SlidingClients } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const clients = new SlidingClients(story)
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`

/** A room whose create event has a type. */
async function typed(creator: string, type: string): Promise<StoryRoom> {
  const room = await story.room(creator)
  await room.state(creator, 'm.room.create', '', { room_version: room.version.id, type })
  return room
}

async function listed(userId: string, filters: Filters): Promise<string[]> {
  const answer = await clients.ask(userId, { lists: { some: { filters } } })
  const list = answer.lists['some']!
  expect(list.count).toBe(list.ops[0]!.room_ids.length)
  return list.ops[0]!.room_ids.toSorted()
}
const ids = (...rooms: StoryRoom[]) => rooms.map(({ roomId }) => roomId).sort()

describe('a list', () => {
  test('has direct rooms, or the others', async () => {
    const alice = person('alice')
    const [direct, other] = [await story.room(alice), await story.room(alice)]
    await story.accountData(alice, '', 'm.direct', { '@bob:x': [direct.roomId, 7], '@eve:x': 'no' })
    expect(await listed(alice, { isDm: true })).toEqual(ids(direct))
    expect(await listed(alice, { isDm: false })).toEqual(ids(other))
    const answer = await clients.ask(alice, { lists: { all: {} } })
    expect(answer.rooms[direct.roomId]!.is_dm).toBe(true)
    expect(answer.rooms[other.roomId]!.is_dm).toBeUndefined()
    await story.accountData(alice, '', 'm.direct', {})
    expect(await listed(alice, { isDm: true })).toEqual([])
  })

  test('has encrypted rooms, or the others, also when one becomes encrypted', async () => {
    const alice = person('alice')
    const [secret, open] = [await story.room(alice), await story.room(alice)]
    expect(await listed(alice, { isEncrypted: true })).toEqual([])
    await secret.state(alice, 'm.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' })
    expect(await listed(alice, { isEncrypted: true })).toEqual(ids(secret))
    expect(await listed(alice, { isEncrypted: false })).toEqual(ids(open))
  })

  test('has invites, or the others', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const [asked, own] = [await story.room(alice), await story.room(bob)]
    await asked.member(bob, 'invite', { by: alice })
    expect(await listed(bob, { isInvite: true })).toEqual(ids(asked))
    expect(await listed(bob, { isInvite: false })).toEqual(ids(own))
    expect(await listed(bob, { isInvite: true, isEncrypted: false })).toEqual(ids(asked))
  })

  test('has rooms of some types', async () => {
    const alice = person('alice')
    const [plain, space] = [await story.room(alice), await typed(alice, 'm.space')]
    const [one, none] = [new Set(['m.space']), new Set([null])]
    expect(await listed(alice, { roomTypes: one })).toEqual(ids(space))
    expect(await listed(alice, { roomTypes: none })).toEqual(ids(plain))
    expect(await listed(alice, { notRoomTypes: one })).toEqual(ids(plain))
    const both = { roomTypes: new Set(['m.space', null]), notRoomTypes: none }
    expect(await listed(alice, both)).toEqual(ids(space))
  })

  test('has rooms by a part of their name, as it is now', async () => {
    const alice = person('alice')
    const [garden, kitchen] = [await story.room(alice), await story.room(alice)]
    await garden.state(alice, 'm.room.name', '', { name: 'My Garden' })
    await kitchen.state(alice, 'm.room.name', '', { name: 'Kitchen' })
    expect(await listed(alice, { nameLike: 'gard' })).toEqual(ids(garden))
    await garden.state(alice, 'm.room.name', '', { name: 'Yard' })
    expect(await listed(alice, { nameLike: 'gard' })).toEqual([])
    expect(await listed(alice, { nameLike: 'k' })).toEqual(ids(kitchen))
  })

  test('says nothing of names from after one left', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.member(bob, 'ban', { by: alice })
    await room.state(alice, 'm.room.name', '', { name: 'secret' })
    expect(await listed(alice, { nameLike: 'secret' })).toEqual(ids(room))
    expect(await listed(bob, { nameLike: 'secret' })).toEqual([])
  })

  test('has rooms by their tags', async () => {
    const alice = person('alice')
    const rooms = [await story.room(alice), await story.room(alice), await story.room(alice)]
    const tag = (room: StoryRoom, ...names: string[]) =>
      story.accountData(alice, room.roomId, 'm.tag', {
        tags: Object.fromEntries(names.map((name) => [name, {}])),
      })
    await tag(rooms[0]!, 'm.favourite', 'u.x')
    await tag(rooms[1]!, 'm.favourite')
    const [favourite, x] = [new Set(['m.favourite']), new Set(['u.x'])]
    expect(await listed(alice, { tags: favourite })).toEqual(ids(rooms[0]!, rooms[1]!))
    expect(await listed(alice, { tags: favourite, notTags: x })).toEqual(ids(rooms[1]!))
    expect(await listed(alice, { notTags: favourite })).toEqual(ids(rooms[2]!))
    await tag(rooms[0]!)
    expect(await listed(alice, { tags: favourite })).toEqual(ids(rooms[1]!))
  })

  test('has the children of spaces that one is in', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const [mine, his] = [await typed(alice, 'm.space'), await typed(bob, 'm.space')]
    const [child, other] = [await story.room(alice), await story.room(alice)]
    const via = { via: ['here.example'] }
    await mine.state(alice, 'm.space.child', child.roomId, via)
    await mine.state(alice, 'm.space.child', other.roomId, {})
    await his.state(bob, 'm.space.child', other.roomId, via)
    const spaces = [mine.roomId, his.roomId, '!none:x']
    expect(await listed(alice, { spaces })).toEqual(ids(child))
    await mine.state(alice, 'm.space.child', child.roomId, {})
    expect(await listed(alice, { spaces })).toEqual([])
  })
})

describe('required state', () => {
  const me = '@me:x'
  const parse = (...pairs: [string, string][]) => RequiredState.parse(pairs, me)

  test('is combined to what either wants', () => {
    const both = parse(['a', '1']).union(parse(['a', '2'], ['b', '*']))
    for (const [type, key, is] of [
      ['a', '1', true],
      ['a', '2', true],
      ['a', '3', false],
      ['b', '3', true],
      ['c', '', false],
    ] as const)
      expect([type, key, both.matches(type, key)]).toEqual([type, key, is])
  })

  test('is lazy together if one is and none has all members', () => {
    const lazy = parse(['m.room.member', '$LAZY'])
    const members = parse(['m.room.member', '*'])
    expect(lazy.union(parse(['a', ''])).lazy).toBe(true)
    expect(lazy.union(members).lazy).toBe(false)
    expect(lazy.union(members).matches('m.room.member', '@other:x')).toBe(true)
    const others = parse(['*', '*'], ['m.room.member', '$LAZY'], ['m.room.member', '$ME'])
    expect(others.matches('m.room.member', '@other:x')).toBe(false)
    expect(others.matches('m.room.member', me)).toBe(true)
    expect(others.matches('x', 'y')).toBe(true)
    expect(others.union(parse(['*', '*'])).lazy).toBe(false)
  })

  test('covers what it has, and no more', () => {
    const all = parse(['*', '*'])
    const lazy = parse(['*', '*'], ['m.room.member', '$LAZY'])
    expect(all.covers(lazy)).toBe(true)
    expect(lazy.covers(all)).toBe(false)
    expect(parse(['a', '*']).covers(parse(['a', 'x']))).toBe(true)
    expect(parse(['a', 'x']).covers(parse(['a', '*']))).toBe(false)
    expect(lazy.covers(parse(['m.room.member', '*']))).toBe(false)
  })
})
