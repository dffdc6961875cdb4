import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { MemberChange, Membership } from '#store/room/batch.ts'
import { Interner } from '#store/room/intern.ts'
import * as generations from '#store/room/generations.ts'
import * as loadRoom from '#store/room/load-room.ts'
import * as members from '#store/room/read-members.ts'
import * as readState from '#store/room/read-state.ts'
import { Owner, next } from './fixtures.ts'
import { random } from './random.ts'

const { pool: sql } = await testDatabase()

const keys = [
  ['m.room.name', ''],
  ['m.room.topic', ''],
  ['org.example.key', 'a'],
  ['org.example.key', 'b'],
  ...['@a:x', '@b:x', '@c:y', '@d:z'].map((user) => ['m.room.member', user] as const),
] as const
const memberships = ['join', 'leave', 'invite', 'ban', 'knock'] as const
const textOf = (type: string, key: string) => `${type} ${key}`

test('the state at every position is what a replay up to it gives', async () => {
  const users = ['@a:x', '@b:x', '@c:y', '@d:z']
  const numbers = await new Interner(sql).intern({ stateKeys: keys, users })
  const owner = await Owner.of(sql, [1])
  const draw = random(21)
  let part = owner.room(1)
  const { roomNid } = part
  const state = new Map<string, number>()
  const joined = new Map<string, Membership>()
  const states = new Map([[owner.shard(1).position, new Map(state)]])
  for (let step = 0; step < 250; step++) {
    const [type, key] = keys[draw(keys.length)]!
    const old = state.get(textOf(type, key)) ?? null
    // Now and then a key goes away, which no event causes.
    const goes = old !== null && draw(6) === 0
    const stateKeyNid = numbers.stateKey(type, key)
    let member: MemberChange | null = null
    if (type === 'm.room.member') {
      const now = goes ? null : memberships[draw(5)]!
      const userNid = numbers.user(key)
      const serverNid = numbers.server(key.slice(key.indexOf(':') + 1))
      member = { userNid, serverNid, senderNid: userNid, old: joined.get(key) ?? null, new: now }
      if (now) joined.set(key, now)
      else joined.delete(key)
    }
    if (goes) {
      part.state.push({
        position: owner.shard(1).nextPosition(),
        typeNid: numbers.type(type),
        stateKeyNid,
        oldEventNid: old,
        newEventNid: null,
        member,
      })
      state.delete(textOf(type, key))
    } else {
      const event = owner.state(part, stateKeyNid, old, member, numbers.type(type))
      state.set(textOf(type, key), event.eventNid)
    }
    states.set(owner.shard(1).position, new Map(state))
    if (draw(7) === 0) {
      await owner.commit(part)
      part = next(part)
    }
  }
  await owner.commit(part)

  for (const [at, expected] of states) {
    const room = { shard: 1, roomNid, at }
    const rows = await readState.stateAt(sql, [room], false)
    expect(new Map(rows.map((row) => [textOf(row.type, row.state_key), row.event_nid]))).toEqual(
      expected,
    )
    const one = await readState.keysAt(
      sql,
      keys.map(([type, stateKey]) => ({ ...room, type, stateKey })),
    )
    expect(new Map(one.map((row) => [textOf(row.type, row.state_key), row.event_nid]))).toEqual(
      expected,
    )
    const memberEvents = await members.eventsAt(sql, 1, roomNid, at)
    expect(new Set(memberEvents.map((row) => row.event_nid))).toEqual(
      new Set(
        [...expected].filter(([key]) => key.startsWith('m.room.member ')).map(([, nid]) => nid),
      ),
    )
  }

  // And what is kept beside it agrees with the end.
  const [row] = await sql<{ room_id: string; joined: number; invited: number }[]>`
    select room_id, joined_members as joined, invited_members as invited from rooms
    where room_nid = ${roomNid}`
  const count = (wanted: Membership) =>
    [...joined.values()].filter((each) => each === wanted).length
  expect(row).toMatchObject({ joined: count('join'), invited: count('invite') })
  const read = await loadRoom.parts(sql, 1, (await loadRoom.room(sql, 1, row!.room_id))!)
  const servers = new Map<string, number>()
  for (const [user, membership] of joined)
    if (membership === 'join') {
      const name = user.slice(user.indexOf(':') + 1)
      servers.set(name, (servers.get(name) ?? 0) + 1)
    }
  expect(new Map(read.servers.map(({ name, joined }) => [name, joined]))).toEqual(servers)
  expect(new Map(read.state)).toEqual(
    new Map(
      keys.flatMap(([type, key]) => {
        const nid = state.get(textOf(type, key))
        return nid === undefined ? [] : [[numbers.stateKey(type, key), nid]]
      }),
    ),
  )
  expect(read.state.hash).toEqual(read.state.with([]).hash)
})

test('a staged state is seen by nobody until the flip, and then by all at once', async () => {
  const numbers = await new Interner(sql).intern({
    stateKeys: keys,
    users: ['@a:x', '@b:x', '@c:y', '@d:z'],
  })
  const owner = await Owner.of(sql, [2])
  const part = owner.room(2, '!flip:x')
  part.created!.kind = 'outside'
  const userNid = numbers.user('@a:x')
  const serverNid = numbers.server('x')
  const memberType = numbers.type('m.room.member')
  const key = (user: string) => numbers.stateKey('m.room.member', user)
  owner.state(
    part,
    key('@a:x'),
    null,
    {
      userNid,
      serverNid,
      senderNid: userNid,
      old: null,
      new: 'invite',
    },
    memberType,
  )
  await owner.commit(part)
  const before = owner.shard(2).position

  const entries = ['@a:x', '@b:x', '@c:y'].map((user) => ({
    typeNid: memberType,
    stateKeyNid: key(user),
    eventNid: owner.shard(2).nextNid(),
    member: {
      userNid: numbers.user(user),
      serverNid: numbers.server(user.slice(3)),
      senderNid: numbers.user(user),
      new: 'join' as const,
    },
  }))
  for (const piece of [entries.slice(0, 2), entries.slice(2)]) {
    const staging = next(part)
    staging.staged = { generation: 1, entries: piece }
    await owner.commit(staging)
  }
  const facts = async () => {
    const room = (await loadRoom.room(sql, 2, '!flip:x'))!
    const read = await loadRoom.parts(sql, 2, room)
    const [counts] = await sql<{ joined: number }[]>`
      select joined_members as joined from rooms where room_nid = ${part.roomNid}`
    const at = owner.shard(2).position
    const rows = await readState.stateAt(sql, [{ shard: 2, roomNid: part.roomNid, at }], false)
    return {
      kind: room.kind,
      state: read.state.size,
      rows: rows.length,
      joined: counts!.joined,
      servers: Object.fromEntries(read.servers.map(({ name, joined }) => [name, joined])),
      rooms: (await members.joinedRooms(sql, '@b:x')).length,
    }
  }
  expect(await facts()).toEqual({
    kind: 'outside',
    state: 1,
    rows: 1,
    joined: 0,
    servers: {},
    rooms: 1 - 1,
  })

  const flip = next(part)
  flip.room = { kind: 'joined' }
  flip.flip = {
    position: owner.shard(2).nextPosition(),
    from: 0,
    to: 1,
    joinedMembers: 3,
    invitedMembers: 0,
  }
  // The join itself, in the same commit, changes the new state.
  owner.state(
    flip,
    key('@d:z'),
    null,
    {
      userNid: numbers.user('@d:z'),
      serverNid: numbers.server('z'),
      senderNid: 1,
      old: null,
      new: 'join',
    },
    memberType,
  )
  await owner.commit(flip)
  expect(await facts()).toEqual({
    kind: 'joined',
    state: 4,
    rows: 4,
    joined: 4,
    servers: { x: 2, y: 1, z: 1 },
    rooms: 1,
  })
  const deltas = await sql`
    select state_key_nid, old_event_nid, new_event_nid from state_deltas
    where room_nid = ${part.roomNid} and position > ${before} order by position`
  expect(deltas[0]).toEqual({ state_key_nid: 0, old_event_nid: 0, new_event_nid: 1 })

  // What went out of use goes in small steps; what is in use stays.
  const left = async () => {
    const [row] = await sql<{ rows: number }[]>`
      select (select count(*) from current_state where room_nid = ${part.roomNid})
        + (select count(*) from memberships where room_nid = ${part.roomNid}) as rows`
    return row!.rows
  }
  const failed = next(part)
  failed.staged = { generation: 2, entries }
  await owner.commit(failed)
  expect(await left()).toBe(2 * (1 + 4 + 3))
  const { shard, roomNid } = part
  const listed = () => generations.listUnused(sql, [2], { shard: -1, roomNid: 0 }, 1_000)
  expect(await listed()).toEqual({ rooms: [{ shard, roomNid, roomId: '!flip:x' }] })
  expect(await generations.dropUnused(sql, { shard, roomNid, before: 2 }, 10)).toBeFalse()
  expect(await left()).toBe(2 * (4 + 3))
  expect(await generations.dropUnused(sql, { shard, roomNid, before: 3 }, 2)).toBeTrue()
  expect(await listed()).toMatchObject({ rooms: [{ roomNid }] })
  expect(await generations.dropUnused(sql, { shard, roomNid, before: 3 }, 2)).toBeFalse()
  expect(await listed()).toEqual({ rooms: [] })
  expect(await left()).toBe(2 * 4)
  expect(await facts()).toMatchObject({ state: 4, rows: 4, servers: { x: 2, y: 1, z: 1 } })

  // Rooms are gone through some at a time.
  const pages = [await generations.listUnused(sql, [2], { shard: -1, roomNid: 0 }, 1)]
  for (let next = pages[0]!.next; next; next = pages.at(-1)!.next)
    pages.push(await generations.listUnused(sql, [2], next, 1))
  const [rooms] = await sql<{ count: number }[]>`
    select count(*)::int as count from rooms where shard = 2`
  expect(pages).toHaveLength(rooms!.count + 1)

  const wrong = next(part)
  wrong.flip = {
    position: owner.shard(2).nextPosition(),
    from: 0,
    to: 2,
    joinedMembers: 0,
    invitedMembers: 0,
  }
  const refused = await owner.commit(wrong).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'LW003' })
})
