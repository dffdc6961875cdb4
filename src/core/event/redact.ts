import { canonicalJson, parseJson } from '#core/canonical-json.ts'
import { historyKeyOf } from '#core/content/msc2716.ts'
import { isObject, type Json, type JsonObject, setKey } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * What is left of an event when it is redacted: among the rest `hashes` and `signatures`, not
 * `unsigned`.
 *
 * Its keys come in canonical order, which makes the canonical JSON of the result cheap.
 *
 * Spec: rooms/v12/#redactions
 */
export const redact = (version: RoomVersion, event: JsonObject): JsonObject =>
  redactTo(version, event, version.redactionV11 ? keptKeys : keptKeysBefore11)

/** As `redact`, without the signatures: what signatures and reference hash cover. */
export const redactUnsigned = (version: RoomVersion, event: JsonObject): JsonObject =>
  redactTo(version, event, version.redactionV11 ? coveredKeys : coveredKeysBefore11)

/** What is left of an event's JSON text when it is redacted. */
export function redactJson(version: RoomVersion, json: string): string {
  const redacted = redact(version, parseJson(json) as JsonObject)
  return canonicalJson(redacted, 'tolerant') ?? JSON.stringify(redacted)
}

/**
 * What other servers are given of an event's JSON text when it is redacted: all of it, if a redaction takes
 * away what the auth rules read of it.
 *
 * Not spec: each server judges by what it has of an event. If some had the whole of it and others what is
 * left, they would judge what rests on it differently, and be in different rooms from then on: power levels,
 * for one, lose who may invite before version 11, and who may notify all. Versions 9 and 11 leave more of it.
 */
export function redactJsonForServers(version: RoomVersion, json: string): string {
  const event = parseJson(json) as JsonObject
  return losesRights(version, event) ? json : redactJson(version, json)
}

/** Whether a redaction takes away what the auth rules read of an event. */
export function losesRights(version: RoomVersion, event: JsonObject): boolean {
  const { type, content } = event
  if (typeof type !== 'string' || typeof event['state_key'] !== 'string' || !isObject(content))
    return false
  const left = redactContent(version, type, content)
  return readByRules(version, type, content).some(
    (key) => Object.hasOwn(content, key) && !Object.hasOwn(left, key),
  )
}

/** Of the keys that some version takes away, those that the auth rules ask for. */
function readByRules(
  version: RoomVersion,
  type: string,
  { membership }: JsonObject,
): readonly string[] {
  switch (type) {
    case 'm.room.create':
      return ['m.federate', 'room_version']
    case 'm.room.power_levels':
      return version.notificationLevelsChecked ? ['invite', 'notifications'] : ['invite']
    case 'm.room.third_party_invite':
      return ['public_key', 'public_keys']
    case 'm.room.member':
      if (membership === 'invite') return ['third_party_invite']
      return membership === 'join' && version.restrictedJoins
        ? ['join_authorised_via_users_server']
        : []
    default:
      return []
  }
}

function redactTo(version: RoomVersion, event: JsonObject, keys: readonly string[]): JsonObject {
  const result: JsonObject = {}
  for (const key of keys) if (Object.hasOwn(event, key)) result[key] = event[key]!
  const content = event['content']
  result['content'] = isObject(content) ? redactContent(version, event['type'], content) : {}
  return result
}

const keptKeysBefore11 = [
  'auth_events',
  'content',
  'depth',
  'event_id',
  'hashes',
  'membership',
  'origin',
  'origin_server_ts',
  'prev_events',
  'prev_state',
  'room_id',
  'sender',
  'signatures',
  'state_key',
  'type',
]

// v11+: `membership`, `origin` and `prev_state` are gone.
const keptKeys = keptKeysBefore11.filter(
  (key) => !['membership', 'origin', 'prev_state'].includes(key),
)

const isCovered = (key: string) => key !== 'signatures'
const coveredKeysBefore11 = keptKeysBefore11.filter(isCovered)
const coveredKeys = keptKeys.filter(isCovered)

/** What is left of the content of an event of this type. */
export function redactContent(
  version: RoomVersion,
  type: Json | undefined,
  content: JsonObject,
): JsonObject {
  switch (type) {
    case 'm.room.member':
      return redactMember(version, content)
    case 'm.room.create':
      // v11+: all of it stays.
      return version.redactionV11 ? content : keep(content, 'creator')
    case 'm.room.join_rules':
      // v8+: `allow` too.
      return version.restrictedJoins
        ? keep(content, 'allow', 'join_rule')
        : keep(content, 'join_rule')
    case 'm.room.power_levels':
      return keep(
        content,
        'ban',
        'events',
        'events_default',
        // v11+
        ...(version.redactionV11 ? ['invite'] : []),
        'kick',
        'redact',
        'state_default',
        'users',
        'users_default',
        // MSC2716
        ...(version.historicalPower ? ['historical'] : []),
      )
    case 'm.room.aliases':
      // v1–v5.
      return version.aliasesRule ? keep(content, 'aliases') : {}
    case 'm.room.history_visibility':
      return keep(content, 'history_visibility')
    case 'm.room.redaction':
      // v11+
      return version.redactionV11 ? keep(content, 'redacts') : {}
    default: {
      // MSC2716: what ties history together.
      const key = version.historicalPower ? historyKeyOf(version, type as string) : undefined
      return key === undefined ? {} : keep(content, key)
    }
  }
}

function redactMember(version: RoomVersion, content: JsonObject): JsonObject {
  // v9+: the authorising user too.
  const kept = version.redactionKeepsAuthorisingUser
    ? keep(content, 'join_authorised_via_users_server', 'membership')
    : keep(content, 'membership')
  // v11+: `signed` of `third_party_invite`. Without it an empty object stays, as in Synapse, whose
  // event IDs would differ otherwise.
  if (version.redactionV11) {
    const invite = content['third_party_invite']
    if (isObject(invite)) kept['third_party_invite'] = keep(invite, 'signed')
  }
  return kept
}

function keep(content: JsonObject, ...keys: readonly string[]): JsonObject {
  const kept: JsonObject = {}
  for (const key of keys) if (Object.hasOwn(content, key)) setKey(kept, key, content[key]!)
  return kept
}
