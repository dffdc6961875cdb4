/**
 * The rules of every room version, as data. Code never compares version numbers: it asks a flag
 * here, so a new version is one entry. Each entry lists only what differs from the one before.
 *
 * Spec: rooms/
 */
export type RoomVersion = Readonly<{
  id: string
  /**
   * `named` (v1–v2): the PDU carries `event_id`, and auth and prev events are `[id, hashes]` pairs.
   * `hashed` (v3+): the ID is the reference hash, and auth and prev events are IDs.
   */
  eventFormat: 'named' | 'hashed'
  /** How the reference hash is written in an event ID; meaningless for named events. */
  eventIdBase64: 'standard' | 'url'
  stateResolution: 'v1' | 'v2' | 'v2.1'
  /** v1–v2: the domain of the event ID must have signed too. */
  eventIdDomainSigns: boolean
  /** v1–v2: redactions are an auth rule; later they are applied when both events are known. */
  redactionsAreAuthorized: boolean
  /** v1–v5: `m.room.aliases` has an auth rule, and its `aliases` survive redaction. */
  aliasesRule: boolean
  /** v5+: keys must be valid at `origin_server_ts`. */
  enforceKeyValidity: boolean
  /** v6+: canonical JSON is enforced (no floats, integers within ±(2^53−1)), depth ≤ 2^53−1. */
  strictCanonicalJson: boolean
  /** v6+: `notifications` of power levels are checked like `events`. */
  notificationLevelsChecked: boolean
  /** v7+: `knock`. */
  knocking: boolean
  /** v8+: `restricted` joins; `allow` of join rules survives redaction. */
  restrictedJoins: boolean
  /** v9+: `join_authorised_via_users_server` survives redaction. */
  redactionKeepsAuthorisingUser: boolean
  /** v10+: `knock_restricted`. */
  knockRestricted: boolean
  /** v10+: power levels must be JSON integers; before, strings that are integers count too. */
  integerPowerLevels: boolean
  /** v1–v10: the create event names its creator; later its sender is the creator. */
  creatorInContent: boolean
  /** v1–v10: `redacts` is a top-level key; later it is in `content`. */
  redactsAtTopLevel: boolean
  /** v11+: the redaction rules of MSC2176 and MSC3820. */
  redactionV11: boolean
  /** v12+: the room ID is the hash of the create event, which is in no `auth_events`. */
  createEventIsRoomId: boolean
  /** v12+: creators, and `additional_creators`, have infinite power. */
  privilegedCreators: boolean
  /** MSC2716: putting in history takes the power `historical`, and its events keep their links when redacted. */
  historicalPower: boolean
  /** MSC2716, org.matrix.msc2716v3: the keys of their contents carry a prefix. */
  prefixedHistoryKeys: boolean
  /** Of no version of the specification: made only where the operator wants it. */
  experimental: boolean
}>

const v1: RoomVersion = {
  id: '1',
  eventFormat: 'named',
  eventIdBase64: 'standard',
  stateResolution: 'v1',
  eventIdDomainSigns: true,
  redactionsAreAuthorized: true,
  aliasesRule: true,
  enforceKeyValidity: false,
  strictCanonicalJson: false,
  notificationLevelsChecked: false,
  knocking: false,
  restrictedJoins: false,
  redactionKeepsAuthorisingUser: false,
  knockRestricted: false,
  integerPowerLevels: false,
  creatorInContent: true,
  redactsAtTopLevel: true,
  redactionV11: false,
  createEventIsRoomId: false,
  privilegedCreators: false,
  historicalPower: false,
  prefixedHistoryKeys: false,
  experimental: false,
}
const v2: RoomVersion = { ...v1, id: '2', stateResolution: 'v2' }
const v3: RoomVersion = {
  ...v2,
  id: '3',
  eventFormat: 'hashed',
  eventIdDomainSigns: false,
  redactionsAreAuthorized: false,
}
const v4: RoomVersion = { ...v3, id: '4', eventIdBase64: 'url' }
const v5: RoomVersion = { ...v4, id: '5', enforceKeyValidity: true }
const v6: RoomVersion = {
  ...v5,
  id: '6',
  aliasesRule: false,
  strictCanonicalJson: true,
  notificationLevelsChecked: true,
}
const v7: RoomVersion = { ...v6, id: '7', knocking: true }
const v8: RoomVersion = { ...v7, id: '8', restrictedJoins: true }
const v9: RoomVersion = { ...v8, id: '9', redactionKeepsAuthorisingUser: true }
const v10: RoomVersion = { ...v9, id: '10', knockRestricted: true, integerPowerLevels: true }
const v11: RoomVersion = {
  ...v10,
  id: '11',
  creatorInContent: false,
  redactsAtTopLevel: false,
  redactionV11: true,
}
const v12: RoomVersion = {
  ...v11,
  id: '12',
  stateResolution: 'v2.1',
  createEventIsRoomId: true,
  privilegedCreators: true,
}
const msc2716v3: RoomVersion = {
  ...v7,
  id: 'org.matrix.msc2716v3',
  historicalPower: true,
  prefixedHistoryKeys: true,
  experimental: true,
}
const msc2716v4: RoomVersion = {
  ...msc2716v3,
  id: 'org.matrix.msc2716v4',
  prefixedHistoryKeys: false,
}

const byId = (versions: readonly RoomVersion[]): ReadonlyMap<string, RoomVersion> =>
  new Map(versions.map((version) => [version.id, version]))

const ofTheSpec = [v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12]

/** A Map, not an object: the key comes from outside, and may be `__proto__`. */
export const roomVersions = byId([...ofTheSpec, msc2716v3, msc2716v4])

/** Those that rooms are made of unless the operator wants more. */
export const stableVersions = byId(ofTheSpec)

/** The version of rooms made here unless the operator or the client names another. */
export const defaultRoomVersion = v12
