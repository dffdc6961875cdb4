import { createHash } from 'node:crypto'
import type { OutRecord } from '#importers/server/import-api.ts'
import type { Stamped } from '#importers/state/spool.ts'
import { cleanText } from './content.ts'
import type { Speaker } from './people.ts'

const longestSrcId = 255
/** Longer keys are no reactions; servers refuse them. */
const longestKey = 255

/** The name of a record on the server: unique over all rooms of an export, as two may go into one. */
export function srcIdOf(room: string, id: string, part = ''): string {
  const whole = `${room}/${id}${part}`
  if (whole.length <= longestSrcId && !whole.includes('\0') && whole.isWellFormed()) return whole
  const hash = createHash('sha256').update(`${room}\0${id}\0${part}`).digest('hex')
  return `${cleanText(room).slice(0, 60)}/${hash}`
}

/** A reaction of one person. */
export function reactionRecord(
  item: Stamped,
  part: string,
  speaker: Speaker,
  ts: number,
  target: string,
  key: string,
): OutRecord {
  return {
    src_id: srcIdOf(item.room, item.id, part),
    type: 'm.reaction',
    sender: speaker.userId,
    ts,
    content: {},
    relates: {
      target: srcIdOf(item.room, target),
      rel_type: 'm.annotation',
      key: cleanText(key).slice(0, longestKey),
    },
  }
}

/** Takes back a record. */
export function redaction(
  item: Stamped,
  part: string,
  target: string,
  speaker: Speaker,
  reason?: string,
): OutRecord {
  return {
    src_id: srcIdOf(item.room, item.id, part),
    type: 'm.room.redaction',
    sender: speaker.userId,
    ts: timeOf(item),
    content: reason ? { reason: cleanText(reason) } : {},
    relates: { target: srcIdOf(item.room, target) },
  }
}

/** The time that an event gets: the record's own, or that of its place if it had none. */
export function timeOf(item: Stamped): number {
  return Math.max(0, Math.floor(item.time))
}
