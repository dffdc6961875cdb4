import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Interner } from '#store/room/intern.ts'
import { members, ServerSets, type ServerSet } from '#store/room/server-sets.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import { random } from './random.ts'

const { pool: sql } = await testDatabase()

test('a text keeps its number, whoever asks', async () => {
  const wanted = {
    types: ['m.room.message', 'm.room.member'],
    stateKeys: [
      ['m.room.member', '@a:x'],
      ['m.room.name', ''],
      ['org.example', ' with spaces '],
      ['org.example', 'ünï ☃'],
    ] as const,
    users: ['@a:x', '@b:y:8448', '@weird'],
    servers: ['z'],
  }
  const first = await new Interner(sql).intern(wanted)
  const second = await new Interner(sql).intern(wanted)
  for (const interned of [first, second]) {
    expect(interned.type('m.room.message')).toBe(first.type('m.room.message'))
    expect(interned.stateKey('org.example', 'ünï ☃')).toBe(first.stateKey('org.example', 'ünï ☃'))
    expect(interned.user('@b:y:8448')).toBe(first.user('@b:y:8448'))
    expect(interned.server('y:8448')).toBe(first.server('y:8448'))
  }
  const keys = wanted.stateKeys.map(([type, key]) => first.stateKey(type, key))
  expect(new Set(keys).size).toBe(4)
  const [row] = await sql`
    select u.user_id, s.name from user_ids u join servers s using (server_nid)
    where user_nid = ${first.user('@b:y:8448')}`
  expect(row).toEqual({ user_id: '@b:y:8448', name: 'y:8448' })
  expect(() => first.user('@nobody:x')).toThrow('was not interned')
})

test('what is in memory costs no statement', async () => {
  let statements = 0
  const counted = new Proxy(sql, {
    apply: (target, self, given: unknown[]): unknown => {
      statements++
      return Reflect.apply(target as (...given: unknown[]) => unknown, self, given)
    },
  })
  const interner = new Interner(counted)
  const wanted = { stateKeys: [['m.room.topic', '']] as const, users: ['@c:x'] }
  await interner.intern(wanted)
  const first = statements
  expect(first).toBeGreaterThan(0)
  for (let round = 0; round < 10; round++) await interner.intern(wanted)
  expect(statements).toBe(first)
})

test('many may ask for the same new texts at once', async () => {
  const users = Array.from({ length: 300 }, (_, at) => `@user${at}:many${at % 7}.example`)
  const all = await Promise.all(
    Array.from({ length: 6 }, (_, by) =>
      new Interner(sql).intern({ users: by % 2 ? users : users.toReversed() }),
    ),
  )
  for (const user of users) expect(new Set(all.map((each) => each.user(user))).size).toBe(1)
})

test('a small cache forgets, and asks again', async () => {
  const interner = new Interner(sql, 2)
  const users = ['@s1:x', '@s2:x', '@s3:x', '@s4:x']
  const first = await interner.intern({ users })
  const second = await interner.intern({ users: users.toReversed() })
  for (const user of users) expect(second.user(user)).toBe(first.user(user))
})

test('sets of servers are numbers, and read as what they hold', async () => {
  const draw = random(11)
  const sets = new ServerSets(sql)
  const cold = () => new ServerSets(sql)
  let older: ServerSet | undefined
  let servers = new Set(Array.from({ length: 200 }, (_, at) => at + 1))
  const made: ServerSet[] = []
  for (let step = 0; step < 60; step++) {
    servers = new Set(servers)
    servers.add(1000 + draw(500))
    servers.delete(1 + draw(250))
    older = await sets.intern(servers, older)
    made.push(older)
  }
  expect((await cold().intern([...servers].reverse())).nid).toBe(made.at(-1)!.nid)
  const empty = await sets.intern([])
  const read = await members(sql, [...made.map(({ nid }) => nid), empty.nid])
  for (const { nid, servers } of made)
    expect(read.get(nid)).toEqual([...servers].sort((a, b) => a - b))
  expect(read.get(empty.nid)).toEqual([])
  const [row] = await sql`
    select count(*) filter (where base_nid is null)::int as whole, max(height)::int as height,
      count(*)::int as sets
    from server_sets where set_nid <> ${empty.nid}`
  expect(row).toMatchObject({ height: 16 })
  expect(Number(row!['whole'])).toBeLessThan(6)
})

test('event IDs are packed without loss', () => {
  const url = { eventFormat: 'hashed', eventIdBase64: 'url' } as const
  const standard = { eventFormat: 'hashed', eventIdBase64: 'standard' } as const
  const named = { eventFormat: 'named', eventIdBase64: 'url' } as const
  for (const [eventId, version, length] of [
    ['$acR1l0raoZnm60CBwAVgqbZqoO/mYU81xysh1u7XcJk', standard, 32],
    ['$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg', url, 32],
    ['$143273582443PhrSn:example.org', named, 30],
    // As long as a hash, and none.
    ['$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:x', named, 44],
  ] as const) {
    const packed = packEventId(eventId)
    expect(packed).toHaveLength(length)
    expect(unpackEventId(packed, version)).toBe(eventId)
  }
  // The last character says more than 32 bytes hold: two such IDs must not be one.
  expect(packEventId('$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zh')).toHaveLength(44)
})
