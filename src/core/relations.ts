import type { RoomEvent } from '#core/event/pdu.ts'
import { isShortText } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'

/**
 * How events relate to each other: `m.relates_to`.
 *
 * Spec: client-server-api/#forming-relationships-between-events
 */
export type Relation = Readonly<{
  relType: string
  /** The parent; nobody says that it exists, or is in the same room. */
  eventId: string
  /** What an annotation says. */
  key: string | undefined
}>

/** The relation of an event to its parent, if it has a sound one. */
export function relationOf(content: JsonObject): Relation | undefined {
  const relatesTo = content['m.relates_to']
  if (!isObject(relatesTo)) return undefined
  const { rel_type: relType, event_id: eventId, key } = relatesTo
  if (typeof relType !== 'string' || !isShortText(relType)) return undefined
  if (typeof eventId !== 'string' || !isShortText(eventId)) return undefined
  return { relType, eventId, key: typeof key === 'string' ? key : undefined }
}

/** The event that a rich reply answers. */
export function repliesTo(content: JsonObject): string | undefined {
  const relatesTo = content['m.relates_to']
  const reply = isObject(relatesTo) ? relatesTo['m.in_reply_to'] : undefined
  const eventId = isObject(reply) ? reply['event_id'] : undefined
  return typeof eventId === 'string' && isShortText(eventId) ? eventId : undefined
}

/** The root of the thread that an event says it is in. */
export function threadRootOf(content: JsonObject): string | undefined {
  const relation = relationOf(content)
  return relation?.relType === 'm.thread' ? relation.eventId : undefined
}

/** Whether a thread may start at an event: not if it is itself the child of one. */
export const canBeThreadRoot = (content: JsonObject): boolean => relationOf(content) === undefined

/**
 * What makes an annotation the same as another of its sender: parent, type and key. Undefined for
 * other events.
 */
export function annotationOf(
  event: Pick<RoomEvent, 'type' | 'content'>,
): { eventId: string; type: string; key: string } | undefined {
  const relation = relationOf(event.content)
  if (relation?.relType !== 'm.annotation') return undefined
  return { eventId: relation.eventId, type: event.type, key: relation.key ?? '' }
}

type Replaceable = Pick<RoomEvent, 'roomId' | 'sender' | 'type' | 'stateKey' | 'content'>

/**
 * Whether an event replaces another.
 *
 * Spec: client-server-api/#validity-of-replacement-events
 */
export function isReplacement(original: Replaceable, replacement: Replaceable): boolean {
  return (
    relationOf(replacement.content)?.relType === 'm.replace' &&
    original.roomId === replacement.roomId &&
    original.sender === replacement.sender &&
    original.type === replacement.type &&
    original.stateKey === undefined &&
    replacement.stateKey === undefined &&
    relationOf(original.content)?.relType !== 'm.replace' &&
    // The new content of an encrypted event is encrypted too.
    (replacement.type === 'm.room.encrypted' || isObject(replacement.content['m.new_content']))
  )
}

/** Orders replacements of one event: the greatest is the most recent. */
export function compareReplacements(
  a: Pick<RoomEvent, 'originServerTs' | 'eventId'>,
  b: Pick<RoomEvent, 'originServerTs' | 'eventId'>,
): number {
  if (a.originServerTs !== b.originServerTs) return a.originServerTs - b.originServerTs
  return a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0
}
