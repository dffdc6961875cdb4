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
