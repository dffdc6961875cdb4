import type { RoomEvent } from '#core/event/pdu.ts'

/** Compares as every order of state resolution does in the end: by time, then by event ID. */
export function byTimeThenId(a: RoomEvent, b: RoomEvent): number {
  return a.originServerTs - b.originServerTs || byCodePoint(a.eventId, b.eventId)
}

/** IDs of v1–v2 may hold any character; JavaScript compares UTF-16 units, others code points. */
function byCodePoint(a: string, b: string): number {
  if (a === b) return 0
  if (aboveSurrogates.test(a) || aboveSurrogates.test(b))
    return Buffer.compare(Buffer.from(a), Buffer.from(b))
  return a < b ? -1 : 1
}

const aboveSurrogates = /[\ud800-\uffff]/
