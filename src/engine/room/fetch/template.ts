import { isBase64 } from '#core/base64.ts'
import { buildEvent, refusalOf, type Signing } from '#core/event/build.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isEventIdOf, isUserId } from '#core/ids.ts'
import { isObject, isRawNumber, type Json, type JsonObject, without } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { malformedAnswer } from '#engine/federation/answer.ts'

/**
 * What another server's template says of the place of an event in the room. Nothing else of it is
 * ever signed: type, room, sender, state key and content are ours.
 *
 * Spec: server-server-api/#joining-rooms
 */
export type Place = Readonly<{
  prevEvents: readonly string[]
  authEvents: readonly string[]
  depth: number
  /** v1–v2: the reference hashes of both; null where the template has none. */
  hashes: ReadonlyMap<string, string | null>
  /** v8+: the member who lets a user in by a restricted join rule. */
  authorisedBy: string | undefined
}>

/** As many as an event may have. */
const maxPrevEvents = 20
const maxAuthEvents = 10

/** Reads a template of a membership event. */
export function readTemplate(server: string, version: RoomVersion, template: JsonObject): Place {
  const hashes = new Map<string, string | null>()
  const prevEvents = references(version, template['prev_events'], hashes)
  if (!prevEvents || prevEvents.length === 0 || prevEvents.length > maxPrevEvents)
    throw malformedAnswer(server, 'is a template without a proper list of prev_events')
  const authEvents = references(version, template['auth_events'], hashes)
  if (!authEvents || authEvents.length > maxAuthEvents)
    throw malformedAnswer(server, 'is a template without a proper list of auth_events')
  const { depth } = template
  // v1–v5 have depths of 64 bits.
  const isHuge = isRawNumber(depth) && /^\d{16,19}$/.test(depth.rawJSON)
  if (!isHuge && !(Number.isSafeInteger(depth) && (depth as number) >= 0))
    throw malformedAnswer(server, 'is a template without a proper depth')
  return {
    prevEvents,
    authEvents,
    depth: isHuge ? Number.MAX_SAFE_INTEGER : (depth as number),
    hashes,
    authorisedBy: authoriser(server, version, template['content']),
  }
}

function references(
  version: RoomVersion,
  list: Json | undefined,
  hashes: Map<string, string | null>,
): string[] | undefined {
  if (!Array.isArray(list)) return undefined
  const ids: string[] = []
  for (const entry of list) {
    const [id, hash] =
      version.eventFormat === 'hashed'
        ? [entry]
        : Array.isArray(entry) && entry.length === 2
          ? (entry as [Json, Json])
          : []
    if (typeof id !== 'string' || !isEventIdOf(version, id) || ids.includes(id)) return undefined
    ids.push(id)
    if (version.eventFormat === 'hashed') continue
    if (!isObject(hash)) return undefined
    // Nobody checks these hashes, and Synapse leaves some of them out.
    const { sha256 = null } = hash
    if (sha256 === null) {
      hashes.set(id, null)
      continue
    }
    if (typeof sha256 !== 'string' || sha256.length > 100 || !isBase64(sha256)) return undefined
    hashes.set(id, sha256)
  }
  return ids
}

const authoriserKey = 'join_authorised_via_users_server'

function authoriser(
  server: string,
  version: RoomVersion,
  content: Json | undefined,
): string | undefined {
  if (!version.restrictedJoins || !isObject(content) || content['membership'] !== 'join')
    return undefined
  const user = content[authoriserKey]
  if (user === undefined) return undefined
  if (typeof user !== 'string' || !isUserId(user))
    throw malformedAnswer(server, 'is a template that somebody authorises who is no user')
  return user
}

export type Member = Readonly<{
  roomId: string
  userId: string
  membership: 'join' | 'leave' | 'knock'
  /** What the user wants in it beside the membership. */
  content: JsonObject
}>

/** Builds and signs the membership event of one of our users at a place that another server gave. */
export function signMember(
  version: RoomVersion,
  place: Place,
  { roomId, userId, membership, content }: Member,
  { signing, now }: { signing: Signing; now: number },
): { event: RoomEvent; text: string } {
  const { authorisedBy } = place
  const built = buildEvent(
    version,
    {
      roomId,
      type: 'm.room.member',
      sender: userId,
      stateKey: userId,
      content: {
        ...without(content, authoriserKey),
        ...(authorisedBy !== undefined && { [authoriserKey]: authorisedBy }),
        membership,
      },
      prevEvents: place.prevEvents,
      authEvents: place.authEvents,
      depth: place.depth,
      originServerTs: now,
      ...(version.eventFormat === 'named' && {
        named: { eventId: newEventId(signing.serverName), hashes: place.hashes },
      }),
    },
    signing,
  )
  if (built.outcome === 'built') return built
  throw refusalOf(built)
}

/** v1–v2: an ID that nobody else has. */
const newEventId = (serverName: string): string =>
  `$${crypto.randomUUID().replaceAll('-', '')}:${serverName}`
