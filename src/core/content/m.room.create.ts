import type { RoomEvent } from '#core/event/pdu.ts'
import { type JsonObject } from '#core/json.ts'

/**
 * What the server reads of `m.room.create`. All readers of contents are lenient: a value of the wrong
 * type counts as absent; whether an event may hold one is for the auth rules to say.
 *
 * Spec: client-server-api/#mroomcreate
 */

/** The creators of a room: one before v12; since then the sender and the additional ones. */
export function creatorsOf(create: RoomEvent): readonly string[] {
  // v1–v10: the content names the creator.
  if (create.version.creatorInContent) {
    const creator = create.content['creator']
    return typeof creator === 'string' ? [creator] : []
  }
  if (!create.version.privilegedCreators) return [create.sender]
  // v12+
  const more = create.content['additional_creators']
  if (!Array.isArray(more)) return [create.sender]
  return [create.sender, ...more.filter((user) => typeof user === 'string')]
}

/** The version that a create event names; `1` if it names none. */
export function roomVersionIdOf(content: JsonObject): string {
  const id = content['room_version']
  return typeof id === 'string' ? id : '1'
}

/** Whether users of other servers may take part; true unless the content says `false`. */
export const federates = (content: JsonObject): boolean => content['m.federate'] !== false

/** The type of the room, such as `m.space`. */
export function roomTypeOf(content: JsonObject): string | undefined {
  const type = content['type']
  return typeof type === 'string' ? type : undefined
}

/** The room that this one continues. */
export function predecessorOf(content: JsonObject): string | undefined {
  const predecessor = content['predecessor']
  const roomId = (predecessor as JsonObject | null | undefined)?.['room_id']
  return typeof roomId === 'string' ? roomId : undefined
}
