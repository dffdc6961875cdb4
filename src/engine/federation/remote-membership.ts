import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { isServerName } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import {
  type Ask,
  askForObject,
  failureOf,
  malformedAnswer,
  objectsOf,
  pathOf,
  queryOf,
} from '#engine/federation/answer.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/**
 * Joining, knocking, leaving and inviting through other servers. A template is checked here before anyone can
 * sign it: a lying server could otherwise have us sign an event of its choice.
 *
 * Spec: server-server-api/#joining-rooms
 */
const v1 = '/_matrix/federation/v1'
const v2 = '/_matrix/federation/v2'
const MiB = 1024 * 1024
const maxStateEvents = 1_000_000
const maxServers = 100_000
/** Not spec: more than any room shows to those outside. */
const maxShown = 100

export type Template = { version: string; event: JsonObject }

/** A join event to fill in and sign, of a room whose version is one of `versions`. */
export const makeJoin = (
  federation: Federation,
  destination: string,
  roomId: string,
  userId: string,
  versions: readonly string[],
  ask: Ask = {},
): Promise<Template> =>
  makeOffered(federation, destination, {
    path: 'make_join',
    membership: 'join',
    roomId,
    userId,
    versions,
    ask,
  })

/** The same for a knock. */
export const makeKnock = (
  federation: Federation,
  destination: string,
  roomId: string,
  userId: string,
  versions: readonly string[],
  ask: Ask = {},
): Promise<Template> =>
  makeOffered(federation, destination, {
    path: 'make_knock',
    membership: 'knock',
    roomId,
    userId,
    versions,
    ask,
  })

type Offer = {
  path: string
  membership: string
  roomId: string
  userId: string
  versions: readonly string[]
  ask: Ask
}

async function makeOffered(
  federation: Federation,
  destination: string,
  { path, membership, roomId, userId, versions, ask }: Offer,
): Promise<Template> {
  const query = queryOf(versions.map((version) => ['ver', version] as const))
  const answer = await askForObject(federation, {
    destination,
    method: 'GET',
    uri: pathOf(`${v1}/${path}`, roomId, userId) + query,
    deadlineMs: 20_000,
    maxBytes: MiB,
    ignoreBackoff: true,
    ...ask,
  })
  const event = checkTemplate(destination, answer, roomId, userId, membership)
  // Not said: version 1 or 2.
  const version = answer['room_version'] ?? '1'
  if (typeof version !== 'string' || !versions.includes(version))
    throw malformedAnswer(destination, 'is a template of a room version that was not offered')
  return { version, event }
}

/** A leave event to fill in and sign. The version is undefined if the other server does not say it. */
export async function makeLeave(
  federation: Federation,
  destination: string,
  roomId: string,
  userId: string,
  ask: Ask = {},
): Promise<{ version: string | undefined; event: JsonObject }> {
  const answer = await askForObject(federation, {
    destination,
    method: 'GET',
    uri: pathOf(`${v1}/make_leave`, roomId, userId),
    deadlineMs: 20_000,
    maxBytes: MiB,
    ignoreBackoff: true,
    ...ask,
  })
  const event = checkTemplate(destination, answer, roomId, userId, 'leave')
  const version = answer['room_version']
  return { version: typeof version === 'string' ? version : undefined, event }
}

function checkTemplate(
  destination: string,
  answer: JsonObject,
  roomId: string,
  userId: string,
  membership: string,
): JsonObject {
  const event = answer['event']
  if (!isObject(event)) throw malformedAnswer(destination, 'holds no event')
  const content = event['content']
  const fault =
    event['type'] !== 'm.room.member'
      ? 'type'
      : event['room_id'] !== roomId
        ? 'room_id'
        : event['sender'] !== userId
          ? 'sender'
          : event['state_key'] !== userId
            ? 'state_key'
            : !isObject(content) || content['membership'] !== membership
              ? 'membership'
              : undefined
  if (fault !== undefined)
    throw malformedAnswer(destination, `is a template with another ${fault} than was asked for`)
  return event
}

export type Joined = {
  state: JsonObject[]
  authChain: JsonObject[]
  /** The join with the signature of the other server, if it gave it one: then this one counts. */
  event: JsonObject | undefined
  membersOmitted: boolean
  serversInRoom: string[]
}

/** Hands in a signed join; the room's state before it. `event` is JSON text. */
export async function sendJoin(
  federation: Federation,
  destination: string,
  roomId: string,
  eventId: string,
  event: string,
  ask: Ask = {},
): Promise<Joined> {
  const answer = await askForObject(federation, {
    destination,
    method: 'PUT',
    uri: pathOf(`${v2}/send_join`, roomId, eventId),
    body: event,
    deadlineMs: 180_000,
    maxBytes: 500 * MiB,
    ignoreBackoff: true,
    ...ask,
  })
  const signed = answer['event']
  if (signed !== undefined && !isObject(signed))
    throw malformedAnswer(destination, 'has an event that is no object')
  const servers = answer['servers_in_room']
  return {
    state: objectsOf(destination, answer, 'state', maxStateEvents),
    authChain: objectsOf(destination, answer, 'auth_chain', maxStateEvents),
    event: signed,
    membersOmitted: answer['members_omitted'] === true,
    serversInRoom: Array.isArray(servers)
      ? servers
          .slice(0, maxServers)
          .filter((name): name is string => typeof name === 'string' && isServerName(name))
      : [],
  }
}

/** Hands in a signed leave. `event` is JSON text. */
export async function sendLeave(
  federation: Federation,
  destination: string,
  roomId: string,
  eventId: string,
  event: string,
  ask: Ask = {},
): Promise<void> {
  await askForObject(federation, {
    destination,
    method: 'PUT',
    uri: pathOf(`${v2}/send_leave`, roomId, eventId),
    body: event,
    deadlineMs: 30_000,
    maxBytes: MiB,
    ignoreBackoff: true,
    ...ask,
  })
}

/** Asks a server in a room to make an invite of a person by an address good for one of our users. */
export async function exchangeThirdPartyInvite(
  federation: Federation,
  destination: string,
  roomId: string,
  event: JsonObject,
  ask: Ask = {},
): Promise<void> {
  await askForObject(federation, {
    destination,
    method: 'PUT',
    uri: pathOf(`${v1}/exchange_third_party_invite`, roomId),
    body: JSON.stringify(event),
    deadlineMs: 20_000,
    maxBytes: MiB,
    ...ask,
  })
}

/** Hands in a signed knock; what its user may see of the room. `event` is JSON text. */
export async function sendKnock(
  federation: Federation,
  destination: string,
  roomId: string,
  eventId: string,
  event: string,
  ask: Ask = {},
): Promise<JsonObject[]> {
  const answer = await askForObject(federation, {
    destination,
    method: 'PUT',
    uri: pathOf(`${v1}/send_knock`, roomId, eventId),
    body: event,
    deadlineMs: 30_000,
    maxBytes: MiB,
    ignoreBackoff: true,
    ...ask,
  })
  // The room has the knock now, whatever else the answer says.
  const state = answer['knock_room_state']
  return (Array.isArray(state) ? state : []).filter(isObject).slice(0, maxShown)
}

/** An invite of a user of the other server. Events are JSON texts. */
export type Invite = {
  roomId: string
  eventId: string
  version: string
  event: string
  inviteRoomState: readonly string[]
}

/**
 * Asks the invited user's server to sign an invite; its copy of the event. The caller takes nothing
 * of it but the signature, which it has checked.
 */
export async function invite(
  federation: Federation,
  destination: string,
  { roomId, eventId, version, event, inviteRoomState }: Invite,
  ask: Ask = {},
): Promise<JsonObject> {
  const state = `[${inviteRoomState.join(',')}]`
  const request = {
    destination,
    method: 'PUT',
    deadlineMs: 30_000,
    maxBytes: MiB,
    ignoreBackoff: true,
    ...ask,
  } as const
  const answer = await federation.call('request', {
    ...request,
    uri: pathOf(`${v2}/invite`, roomId, eventId),
    body: `{"room_version":${JSON.stringify(version)},"event":${event},"invite_room_state":${state}}`,
  })
  if (answer.status === 200) return signedInvite(destination, parseJson(answer.body))

  // v1–v2: the server may be too old for the second version of this call.
  const mayBeOld = answer.status === 400 || answer.status === 404
  const isOldRoom = roomVersions.get(version)?.eventFormat === 'named'
  if (!mayBeOld || !isOldRoom) throw failureOf(destination, answer)
  const old = await federation.call('request', {
    ...request,
    uri: pathOf(`${v1}/invite`, roomId, eventId),
    body: `${event.trimEnd().slice(0, -1)},"unsigned":{"invite_room_state":${state}}}`,
  })
  // The older server does not know the older call either: the first answer says why.
  if (old.status === 404) throw failureOf(destination, answer)
  if (old.status !== 200) throw failureOf(destination, old)
  const pair = parseJson(old.body)
  if (!Array.isArray(pair) || pair[0] !== 200)
    throw new RemoteError(destination, 403, 'M_FORBIDDEN', `${destination} refused the invite`)
  return signedInvite(destination, pair[1])
}

function signedInvite(destination: string, json: unknown): JsonObject {
  const event = isObject(json) ? json['event'] : undefined
  if (!isObject(event)) throw malformedAnswer(destination, 'holds no event')
  return event
}
