import type { Signing } from '#core/event/build.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { allowsKnocking, isRestricted, joinRuleOf } from '#core/content/m.room.join_rules.ts'
import { powerLevels } from '#core/content/m.room.power_levels.ts'
import { nextPowerLevels, withPower } from '#core/content/next-power-levels.ts'
import { canonicalJson } from '#core/canonical-json.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { type RoomPlan, planRoom } from '#engine/room/local/plan-room.ts'
import type { LocalEvent } from '#engine/worker/protocol.ts'

/** A room, and who replaces it by what. */
export type UpgradeWish = {
  userId: string
  version: RoomVersion
  additionalCreators: readonly string[]
  profile: JsonObject
  old: {
    roomId: string
    version: RoomVersion
    state: readonly RoomEvent[]
    bans: readonly RoomEvent[]
  }
}

export type UpgradePlan = Pick<RoomPlan, 'roomId' | 'create'> & {
  /** What is sent when the room is there: more than fits into its making, and the last power levels. */
  rest: LocalEvent[]
}

/** Spec: client-server-api/#room-upgrades */
const copied: ReadonlySet<string> = new Set([
  'm.room.avatar',
  'm.room.canonical_alias',
  'm.room.encryption',
  'm.room.guest_access',
  'm.room.history_visibility',
  'm.room.join_rules',
  'm.room.name',
  'm.room.policy',
  'm.room.server_acl',
  'm.room.topic',
])

/** Events that a room is made with; the rest follows. */
const maxFirst = 400

/** The room that takes the place of another. `random` is as for `planRoom`. */
export function planUpgrade(
  { userId, version, additionalCreators, profile, old }: UpgradeWish,
  signing: Signing,
  now: number,
  random: Uint8Array,
): UpgradePlan {
  const find = (type: string) =>
    old.state.find((event) => event.type === type && event.stateKey === '')
  const create = find('m.room.create')
  const creators = new Set([userId, ...additionalCreators])
  const levels = nextPowerLevels(
    powerLevels(old.version, find('m.room.power_levels')?.content, create),
    version,
    creators,
  )
  // v1–v11: for as long as the room is made its maker has all power.
  const firstLevels = version.privilegedCreators ? levels : withPower(levels, userId)
  const initialState = [...stateFor(version, old.state, create), ...bansOf(old.bans, creators)]
  const { roomId, create: made } = planRoom(
    {
      creator: userId,
      version,
      preset: 'private_chat',
      profile,
      creationContent: creationContent(old.roomId, create, additionalCreators),
      powerLevelOverride: firstLevels,
      initialState,
    },
    signing,
    now,
    random,
  )
  const rest = made.events.slice(maxFirst)
  if (text(levels) !== text(firstLevels))
    rest.push({
      sender: userId,
      type: 'm.room.power_levels',
      stateKey: '',
      content: JSON.stringify(levels),
    })
  return { roomId, create: { ...made, events: made.events.slice(0, maxFirst) }, rest }
}

const text = (levels: JsonObject) => canonicalJson(levels, 'tolerant')

function creationContent(
  oldRoomId: string,
  create: RoomEvent | undefined,
  additionalCreators: readonly string[],
): JsonObject {
  const content: JsonObject = { predecessor: { room_id: oldRoomId } }
  for (const key of ['type', 'm.federate'])
    if (create && Object.hasOwn(create.content, key)) content[key] = create.content[key]!
  if (additionalCreators.length > 0) content['additional_creators'] = [...additionalCreators]
  return content
}

type State = { type: string; state_key: string; content: JsonObject }

function stateFor(
  version: RoomVersion,
  state: readonly RoomEvent[],
  create: RoomEvent | undefined,
): State[] {
  const isSpace = create?.content['type'] === 'm.space'
  const events = state
    .filter(({ type, stateKey }) =>
      stateKey === '' ? copied.has(type) : isSpace && type === 'm.space.child',
    )
    .map(({ type, stateKey, content }): State => ({
      type,
      state_key: stateKey!,
      content: type === 'm.room.join_rules' ? joinRules(version, content) : content,
    }))
  // What the room did not say must not be said by a preset.
  if (!events.some(({ type }) => type === 'm.room.guest_access'))
    events.push({
      type: 'm.room.guest_access',
      state_key: '',
      content: { guest_access: 'forbidden' },
    })
  return events
}

/** A rule that the version does not know would let nobody in. */
function joinRules(version: RoomVersion, content: JsonObject): JsonObject {
  const rule = joinRuleOf(content)
  const isKnown =
    ['public', 'invite', 'private'].includes(rule) ||
    isRestricted(version, rule) ||
    allowsKnocking(version, rule)
  return isKnown ? content : { join_rule: 'invite' }
}

const bansOf = (bans: readonly RoomEvent[], creators: ReadonlySet<string>): State[] =>
  bans
    .filter(({ stateKey }) => !creators.has(stateKey!))
    .map(({ stateKey, content }) => ({
      type: 'm.room.member',
      state_key: stateKey!,
      content: {
        membership: 'ban',
        ...(typeof content['reason'] === 'string' && { reason: content['reason'] }),
      },
    }))
