import { RemoteError } from '#core/error.ts'
import { isRoomId, isServerName } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import {
  type Ask,
  askForObject,
  malformedAnswer,
  objectsOf,
  pathOf,
  queryOf,
} from '#engine/federation/answer.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/**
 * Asking other servers about users, aliases and rooms; a user waits for each of these.
 *
 * Spec: server-server-api/#querying-for-information
 */
const v1 = '/_matrix/federation/v1'

/** A profile has at most 64 KiB. */
const maxProfileBytes = 128 * 1024
const maxVia = 200

/** The profile of a user of the other server, or one field of it; undefined if there is no such user. */
export async function queryProfile(
  federation: Federation,
  destination: string,
  userId: string,
  field?: string,
  ask: Ask = {},
): Promise<JsonObject | undefined> {
  return unlessNotFound(
    askForObject(federation, {
      destination,
      method: 'GET',
      uri: `${v1}/query/profile${queryOf([
        ['user_id', userId],
        ['field', field],
      ])}`,
      deadlineMs: 10_000,
      maxBytes: maxProfileBytes,
      ignoreBackoff: true,
      ...ask,
    }),
  )
}

/** The room behind an alias of the other server; undefined if there is no such alias. */
export async function queryDirectory(
  federation: Federation,
  destination: string,
  alias: string,
  ask: Ask = {},
): Promise<{ roomId: string; servers: string[] } | undefined> {
  const answer = await unlessNotFound(
    askForObject(federation, {
      destination,
      method: 'GET',
      uri: `${v1}/query/directory${queryOf([['room_alias', alias]])}`,
      deadlineMs: 10_000,
      maxBytes: 1024 * 1024,
      ignoreBackoff: true,
      ...ask,
    }),
  )
  if (!answer) return undefined
  const { room_id: roomId, servers } = answer
  if (typeof roomId !== 'string' || !isRoomId(roomId))
    throw malformedAnswer(destination, 'names no room')
  if (!Array.isArray(servers)) throw malformedAnswer(destination, 'lists no servers')
  const names = servers.filter((name) => typeof name === 'string' && isServerName(name))
  return { roomId, servers: (names as string[]).slice(0, maxVia) }
}

async function unlessNotFound(answer: Promise<JsonObject>): Promise<JsonObject | undefined> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof RemoteError && error.status === 404) return undefined
    throw error
  }
}

export type PublicRoomsQuery = {
  limit?: number
  since?: string
  filter?: { generic_search_term?: string; room_types?: (string | null)[] }
  includeAllNetworks?: boolean
  thirdPartyInstanceId?: string
}

/** One page of the other server's room directory, in the form of the client-server API. */
export async function publicRooms(
  federation: Federation,
  destination: string,
  query: PublicRoomsQuery,
  ask: Ask = {},
): Promise<JsonObject> {
  const { limit, since, filter, includeAllNetworks, thirdPartyInstanceId } = query
  const request = {
    destination,
    deadlineMs: 15_000,
    maxBytes: 8 * 1024 * 1024,
    ignoreBackoff: true,
    ...ask,
  }
  const answer = await askForObject(
    federation,
    filter === undefined
      ? {
          ...request,
          method: 'GET',
          uri: `${v1}/publicRooms${queryOf([
            ['limit', limit?.toString()],
            ['since', since],
            ['include_all_networks', includeAllNetworks?.toString()],
            ['third_party_instance_id', thirdPartyInstanceId],
          ])}`,
        }
      : {
          ...request,
          method: 'POST',
          uri: `${v1}/publicRooms`,
          body: JSON.stringify({
            limit,
            since,
            filter,
            include_all_networks: includeAllNetworks,
            third_party_instance_id: thirdPartyInstanceId,
          }),
        },
  )
  return checkPublicRooms(destination, answer)
}

/** Clients are given these rooms as they are: every required member must be there. */
function checkPublicRooms(destination: string, answer: JsonObject): JsonObject {
  const rooms = objectsOf(destination, answer, 'chunk', 10_000)
  const chunk = rooms.filter(
    (room) =>
      isObject(room) &&
      typeof room['room_id'] === 'string' &&
      isRoomId(room['room_id']) &&
      Number.isSafeInteger(room['num_joined_members']) &&
      typeof room['world_readable'] === 'boolean' &&
      typeof room['guest_can_join'] === 'boolean',
  )
  const checked: JsonObject = { chunk }
  for (const key of ['next_batch', 'prev_batch'])
    if (typeof answer[key] === 'string') checked[key] = answer[key]
  if (Number.isSafeInteger(answer['total_room_count_estimate']))
    checked['total_room_count_estimate'] = answer['total_room_count_estimate']!
  return checked
}

/** What the other server tells of a room and the rooms that it names its children, unchecked. */
export const queryHierarchy = (
  federation: Federation,
  destination: string,
  roomId: string,
  ask: Ask = {},
): Promise<JsonObject> =>
  askForObject(federation, {
    destination,
    method: 'GET',
    uri: `${pathOf(`${v1}/hierarchy`, roomId)}?suggested_only=false`,
    deadlineMs: 10_000,
    maxBytes: 4 * 1024 * 1024,
    ...ask,
  })
