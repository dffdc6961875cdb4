import { authorizeCreate } from '#core/auth/create.ts'
import { invalidParam } from '#core/error.ts'
import { buildEvent, refusalOf, type Signing } from '#core/event/build.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { CreateRoom, LocalEvent, MembershipChange } from '#engine/worker/protocol.ts'

export type Preset = 'private_chat' | 'trusted_private_chat' | 'public_chat'

/** What `createRoom` asks for, with the server's own answers filled in. */
export type RoomWish = {
  creator: string
  version: RoomVersion
  preset: Preset
  /** Further content of the creator's join: displayname, avatar_url. */
  profile: JsonObject
  creationContent?: JsonObject
  powerLevelOverride?: JsonObject
  /** The whole alias, already reserved. */
  canonicalAlias?: string
  initialState?: readonly { type: string; state_key?: string; content: JsonObject }[]
  name?: string
  topic?: string
  invite?: readonly string[]
  isDirect?: boolean
}

export type RoomPlan = {
  roomId: string
  create: CreateRoom
  /** What follows when the room is there: one `changeMembership` each. */
  invites: MembershipChange[]
}

/**
 * Turns a wish into a signed create event and the events after it, in the spec's order. `random` is 18
 * random bytes: the room ID of v1–v11; later the ID is a hash, and they keep two rooms that are made
 * alike within a millisecond apart.
 *
 * Spec: client-server-api/#post_matrixclientv3createroom
 */
export function planRoom(
  wish: RoomWish,
  signing: Signing,
  now: number,
  random: Uint8Array,
): RoomPlan {
  const { version, creator } = wish
  // 1: The create event.
  const built = buildEvent(
    version,
    {
      roomId: version.createEventIsRoomId ? undefined : randomRoomId(random, signing.serverName),
      type: 'm.room.create',
      sender: creator,
      stateKey: '',
      content: createContent(wish, random),
      prevEvents: [],
      authEvents: [],
      depth: 1,
      originServerTs: now,
      ...(version.eventFormat === 'named' && {
        named: { eventId: randomEventId(signing.serverName), hashes: new Map() },
      }),
    },
    signing,
  )
  if (built.outcome !== 'built') throw refusalOf(built)
  const verdict = authorizeCreate(built.event)
  if (!verdict.allowed) throw invalidParam(`\`creation_content\` makes no room: ${verdict.reason}`)
  const events = [...firstEvents(wish), ...laterEvents(wish)].map(
    ([type, stateKey, content]): LocalEvent => ({
      sender: creator,
      type,
      stateKey,
      content: JSON.stringify(content),
    }),
  )
  return {
    roomId: built.event.roomId,
    create: { creator, version: version.id, createEvent: built.text, events },
    invites: invitesOf(wish),
  }
}

type Planned = [type: string, stateKey: string, content: JsonObject]

const randomRoomId = (random: Uint8Array, serverName: string) =>
  `!${Buffer.from(random).toString('base64url')}:${serverName}`

/** An event ID of v1 and v2: anything that is unique. */
export const randomEventId = (serverName: string): string =>
  `$${crypto.randomUUID().replaceAll('-', '')}:${serverName}`

function createContent(wish: RoomWish, random: Uint8Array): JsonObject {
  const { version, creator, creationContent = {} } = wish
  const content: JsonObject = { ...creationContent, room_version: version.id }
  // v1–v10.
  if (version.creatorInContent) content['creator'] = creator
  else delete content['creator']
  if (version.privilegedCreators) {
    const given = content['additional_creators']
    const invited = wish.preset === 'trusted_private_chat' ? (wish.invite ?? []) : []
    // Anything but a list of user IDs fails the create event, and says so.
    if (given === undefined || Array.isArray(given)) {
      const creators = new Set([...(given ?? []), ...invited])
      creators.delete(creator)
      if (creators.size > 0) content['additional_creators'] = [...creators]
    }
  } else delete content['additional_creators']
  // Not spec: the hash of two rooms made alike at the same time must differ.
  if (version.createEventIsRoomId)
    content['laneway.nonce'] = Buffer.from(random).toString('base64url')
  return content
}

function firstEvents(wish: RoomWish): Planned[] {
  const { creator, profile, canonicalAlias } = wish
  // 2: The creator's join.
  const events: Planned[] = [
    ['m.room.member', creator, { ...profile, membership: 'join' }],
    // 3: The power levels.
    ['m.room.power_levels', '', powerLevels(wish)],
  ]
  // 4: The alias.
  if (canonicalAlias !== undefined)
    events.push(['m.room.canonical_alias', '', { alias: canonicalAlias }])
  return events
}

function laterEvents(wish: RoomWish): Planned[] {
  const { preset, initialState = [], name, topic } = wish
  const isPublic = preset === 'public_chat'
  // 5: The preset, where the initial state does not say otherwise.
  const presets: Planned[] = [
    ['m.room.join_rules', '', { join_rule: isPublic ? 'public' : 'invite' }],
    ['m.room.history_visibility', '', { history_visibility: 'shared' }],
    ['m.room.guest_access', '', { guest_access: isPublic ? 'forbidden' : 'can_join' }],
  ]
  const given = new Set(initialState.map((each) => `${each.type} ${each.state_key ?? ''}`))
  const events = presets.filter(([type, stateKey]) => !given.has(`${type} ${stateKey}`))
  // 6: The initial state, less what name and topic say.
  const isSaid = (type: string, stateKey: string) =>
    stateKey === '' &&
    ((type === 'm.room.name' && name !== undefined) ||
      (type === 'm.room.topic' && topic !== undefined))
  for (const { type, state_key: stateKey = '', content } of initialState)
    if (!isSaid(type, stateKey)) events.push([type, stateKey, content])
  // 7: Name and topic.
  if (name !== undefined) events.push(['m.room.name', '', { name }])
  if (topic !== undefined)
    events.push(['m.room.topic', '', { topic, 'm.topic': { 'm.text': [{ body: topic }] } }])
  return events
}

function powerLevels(wish: RoomWish): JsonObject {
  const { version, creator, preset, invite = [], powerLevelOverride = {} } = wish
  const users: JsonObject = {}
  // v1–v11: creators have no power but what is written here; later it is infinite, and not written.
  if (!version.privilegedCreators) {
    users[creator] = 100
    if (preset === 'trusted_private_chat') for (const user of invite) users[user] = 100
  }
  const { state_default: stateDefault = 50 } = powerLevelOverride
  const generated: JsonObject = {
    ban: 50,
    events: {
      'm.room.avatar': 50,
      'm.room.canonical_alias': 50,
      'm.room.encryption': 100,
      'm.room.history_visibility': 100,
      'm.room.name': 50,
      'm.room.power_levels': 100,
      'm.room.server_acl': 100,
      'm.room.tombstone': version.privilegedCreators ? tombstoneLevel(stateDefault) : 100,
    },
    events_default: 0,
    // MSC2716
    ...(version.historicalPower && { historical: 100 }),
    invite: preset === 'public_chat' ? 50 : 0,
    kick: 50,
    redact: 50,
    state_default: 50,
    users,
    users_default: 0,
  }
  return { ...generated, ...powerLevelOverride }
}

/** v12+: above the power of all but creators, and above that of other state. */
const tombstoneLevel = (stateDefault: Json): number =>
  Number.isSafeInteger(stateDefault) && (stateDefault as number) >= 150
    ? Math.min((stateDefault as number) + 1, Number.MAX_SAFE_INTEGER)
    : 150

/** 8: The invites. */
function invitesOf({ creator, invite = [], isDirect }: RoomWish): MembershipChange[] {
  const content = isDirect ? '{"is_direct":true}' : '{}'
  return [...new Set(invite)].map((target) => ({
    sender: creator,
    target,
    membership: 'invite',
    content,
  }))
}
