import { expect, test } from 'bun:test'
import { randomBytes } from 'node:crypto'
import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import { parseJson } from '#core/canonical-json.ts'
import { selectAuthEvents } from '#core/event/auth-events.ts'
import { buildEvent } from '#core/event/build.ts'
import { parsePdu } from '#core/event/check.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions, stableVersions } from '#core/room-version.ts'
import { makeSigningKey } from '#core/signing.ts'
import { planRoom, type RoomPlan, type RoomWish } from '#engine/room/local/plan-room.ts'

const signing = { serverName: 'us.test', key: makeSigningKey(randomBytes(32)) }
const creator = '@alice:us.test'
const bob = '@bob:them.test'
const now = 1_700_000_000_000
const allVersions = [...stableVersions.keys()]

const plan = (version: string, wish: Partial<RoomWish> = {}): RoomPlan =>
  planRoom(
    {
      creator,
      version: roomVersions.get(version)!,
      preset: 'private_chat',
      profile: { displayname: 'Alice' },
      ...wish,
    },
    signing,
    now,
    randomBytes(18),
  )

function createOf({ create, roomId }: RoomPlan): RoomEvent {
  const version = roomVersions.get(create.version)!
  const parsed = parsePdu(version, parseJson(create.createEvent), { roomId })
  if ('refused' in parsed) throw new Error(parsed.refused)
  return parsed.ok
}

const listOf = ({ create }: RoomPlan) =>
  create.events.map(({ type, stateKey, content }) => ({
    type,
    stateKey,
    content: JSON.parse(content) as JsonObject,
  }))

const contentOf = (made: RoomPlan, type: string): JsonObject | undefined =>
  listOf(made).findLast((event) => event.type === type)?.content

/** Why the auth rules refuse an event of the plan, if they do. */
function refusalOf(made: RoomPlan): string | undefined {
  const create = createOf(made)
  const { version, roomId } = create
  const all = new Map([[create.eventId, create]])
  const state = new Map([['m.room.create ', create]])
  let last = create
  for (const { type, stateKey, content, sender } of made.create.events) {
    const subject = { version, type, stateKey, sender, content: parseJson(content) as JsonObject }
    const get = (eventType: string, key: string) => state.get(`${eventType} ${key}`)
    const auth = selectAuthEvents(subject, get)
    const hashes = [last, ...auth].map(
      (each) => [each.eventId, referenceHash(version, each.pdu)!] as const,
    )
    const named = { eventId: `$${all.size}:us.test`, hashes: new Map(hashes) }
    const built = buildEvent(
      version,
      {
        ...subject,
        roomId,
        prevEvents: [last.eventId],
        authEvents: auth.map(({ eventId }) => eventId),
        depth: last.depth + 1,
        originServerTs: now,
        named: version.eventFormat === 'named' ? named : undefined,
      },
      signing,
    )
    if (built.outcome !== 'built') return built.reason
    last = built.event
    all.set(last.eventId, last)
    const verdicts = [
      checkAuthEvents(
        last,
        (id) => all.get(id),
        () => false,
      ),
      authorize(last, get, () => true),
    ]
    for (const verdict of verdicts) if (!verdict.allowed) return verdict.reason
    state.set(`${type} ${stateKey}`, last)
  }
  return undefined
}

test.each(allVersions)(
  'a whole wish for version %s is allowed by the rules, in order',
  (version) => {
    const made = plan(version, {
      preset: 'public_chat',
      canonicalAlias: '#pub:us.test',
      initialState: [
        { type: 'm.room.encryption', content: { algorithm: 'm.megolm.v1.aes-sha2' } },
        { type: 'org.example', state_key: 'x', content: { y: 1 } },
      ],
      name: 'The Pub',
      topic: 'Happy hour',
      invite: [bob],
    })
    expect(refusalOf(made)).toBeUndefined()
    expect(listOf(made).map(({ type }) => type)).toEqual([
      'm.room.member',
      'm.room.power_levels',
      'm.room.canonical_alias',
      'm.room.join_rules',
      'm.room.history_visibility',
      'm.room.guest_access',
      'm.room.encryption',
      'org.example',
      'm.room.name',
      'm.room.topic',
    ])
    expect(made.invites).toEqual([
      { sender: creator, target: bob, membership: 'invite', content: '{}' },
    ])
  },
)

test.each(allVersions)(
  'the create event of version %s names its creator as the version has it',
  (id) => {
    const version = roomVersions.get(id)!
    const made = plan(id, { creationContent: { creator: '@eve:us.test', room_version: '99' } })
    const { content, sender, roomId } = createOf(made)
    expect(sender).toBe(creator)
    expect(content['room_version']).toBe(id)
    expect(content['creator']).toBe(version.creatorInContent ? creator : undefined!)
    expect(made.roomId).toBe(roomId)
    expect(roomId).toMatch(version.createEventIsRoomId ? /^![\w-]{43}$/ : /^![\w-]+:us\.test$/)
  },
)

test('type, predecessor and m.federate pass through', () => {
  const creationContent = {
    type: 'm.space',
    predecessor: { room_id: '!old:us.test', event_id: '$last' },
    'm.federate': false,
  }
  for (const version of allVersions)
    expect(createOf(plan(version, { creationContent })).content).toMatchObject(creationContent)
})

test('two rooms that are made alike at once are two', () => {
  for (const version of allVersions) expect(plan(version).roomId).not.toBe(plan(version).roomId)
})

test.each([
  ['private_chat', 'invite', 'can_join'],
  ['trusted_private_chat', 'invite', 'can_join'],
  ['public_chat', 'public', 'forbidden'],
] as const)('the preset %s', (preset, rule, guests) => {
  const made = plan('11', { preset })
  expect(contentOf(made, 'm.room.join_rules')).toEqual({ join_rule: rule })
  expect(contentOf(made, 'm.room.guest_access')).toEqual({ guest_access: guests })
  expect(contentOf(made, 'm.room.history_visibility')).toEqual({ history_visibility: 'shared' })
})

test('the initial state takes the place of the preset, name and topic that of both', () => {
  const made = plan('12', {
    initialState: [
      { type: 'm.room.join_rules', content: { join_rule: 'knock' } },
      { type: 'm.room.name', content: { name: 'Old' } },
      { type: 'm.room.topic', state_key: 'other', content: { topic: 'Old' } },
    ],
    name: 'New',
    topic: 'New',
  })
  const of = (type: string) => listOf(made).filter((event) => event.type === type)
  expect(of('m.room.join_rules').map(({ content }) => content)).toEqual([{ join_rule: 'knock' }])
  expect(of('m.room.name').map(({ content }) => content)).toEqual([{ name: 'New' }])
  expect(of('m.room.topic').map(({ stateKey }) => stateKey)).toEqual(['other', ''])
  expect(contentOf(made, 'm.room.topic')).toEqual({
    topic: 'New',
    'm.topic': { 'm.text': [{ body: 'New' }] },
  })
})

test('before version 12 the creator, and whom it trusts, have power by name', () => {
  const levels = (wish: Partial<RoomWish>) => contentOf(plan('11', wish), 'm.room.power_levels')!
  expect(levels({ invite: [bob] })['users']).toEqual({ [creator]: 100 })
  const trusted = levels({ preset: 'trusted_private_chat', invite: [bob] })
  expect(trusted['users']).toEqual({ [creator]: 100, [bob]: 100 })
  expect(trusted['events']).toMatchObject({ 'm.room.tombstone': 100 })
})

test('from version 12 on creators have no power by name, and those trusted are creators', () => {
  const wish: Partial<RoomWish> = {
    preset: 'trusted_private_chat',
    invite: [bob, '@carol:them.test'],
    creationContent: { additional_creators: ['@dave:them.test', bob] },
  }
  const made = plan('12', wish)
  expect(createOf(made).content['additional_creators']).toEqual([
    '@dave:them.test',
    bob,
    '@carol:them.test',
  ])
  expect(contentOf(made, 'm.room.power_levels')).toMatchObject({
    users: {},
    events: { 'm.room.tombstone': 150 },
  })
  expect(refusalOf(made)).toBeUndefined()
  expect(createOf(plan('11', wish)).content).not.toHaveProperty('additional_creators')
})

test('from version 12 on a tombstone takes more power than other state', () => {
  const made = plan('12', { powerLevelOverride: { state_default: 200 } })
  expect(contentOf(made, 'm.room.power_levels')!['events']).toMatchObject({
    'm.room.tombstone': 201,
  })
})

test('power levels are overridden as wished, and the rules judge them', () => {
  const made = plan('11', { powerLevelOverride: { events_default: 7, users: { [bob]: 5 } } })
  expect(contentOf(made, 'm.room.power_levels')).toMatchObject({
    events_default: 7,
    users: { [bob]: 5 },
    ban: 50,
  })
  // The creator is not among those who have power now.
  expect(refusalOf(made)).toContain('power is too low')
  const creators = plan('12', { powerLevelOverride: { users: { [creator]: 100 } } })
  expect(refusalOf(creators)).toContain('creator')
})

test.each<[string, JsonObject]>([
  ['a text as additional creators', { additional_creators: bob }],
  ['no user among additional creators', { additional_creators: ['bob'] }],
])('%s makes no room', (_, creationContent) => {
  expect(() => plan('12', { creationContent })).toThrow('additional_creators')
})

test('content that is too large, or not canonical JSON, makes no room', () => {
  const large = { note: 'x'.repeat(70_000) }
  expect(() => plan('12', { creationContent: large })).toThrow('65536')
  expect(() => plan('12', { creationContent: { half: 0.5 } })).toThrow('canonical JSON')
})

test('direct chats say so in their invites, and nobody is invited twice', () => {
  const { invites } = plan('12', { invite: [bob, bob], isDirect: true })
  expect(invites).toEqual([
    { sender: creator, target: bob, membership: 'invite', content: '{"is_direct":true}' },
  ])
})
