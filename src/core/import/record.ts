import { type Errcode } from '#core/error.ts'
import { domainOf, isShortText, isUserId } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'

/** What somebody said, reacted or took back somewhere else, to be made an event. */
export type ImportRecord = Readonly<{
  /** Its name where it comes from: one record of a source makes one event of a room. */
  srcId: string
  type: string
  sender: string
  ts: number
  content: JsonObject
  relates: Relates
}>

/** Other records of the same source, by their names there. */
export type Relates = Readonly<{
  thread?: string
  reply?: string
  target?: string
  relType?: string
  key?: string
}>

/** A record that makes no event, as the importer is told. */
export type FailedRecord = { src_id: string; errcode: Errcode; error: string }

const maxNameLength = 255
/** Clocks differ; nothing was said tomorrow. */
const maxAheadMs = 24 * 60 * 60 * 1000

/** As deep as an event may nest, with what is around it. */
export const maxDepth = 1_000

/** Whether a JSON text nests deeper than that; what is no JSON is for the parser to find. */
export function nestsDeeper(text: string, max: number): boolean {
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) {
      while (++at < text.length && text.charCodeAt(at) !== quote)
        if (text.charCodeAt(at) === backslash) at++
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > max) return true
    } else if (code === 0x7d || code === 0x5d) depth--
  }
  return false
}

const quote = 0x22
const backslash = 0x5c

/** A record's text is longer than its event, though not by much: escapes apart. */
const maxRecordLength = 400_000

/** Why a text is not even parsed. */
export function textFault(text: string): FailedRecord | undefined {
  if (text.length > maxRecordLength)
    return failed(nameIn(text), 'M_TOO_LARGE', 'The record is far larger than an event may be')
  // Most have no more brackets than this in the first place.
  if (text.length > maxDepth && nestsDeeper(text, maxDepth))
    return failed(nameIn(text), 'M_BAD_JSON', `The record is nested deeper than ${maxDepth}`)
  return undefined
}

/** The name of a record that is not parsed, if it is said at its beginning. */
const nameIn = (text: string): string =>
  /^\s*\{\s*"src_id"\s*:\s*"([^"\\]{1,255})"/.exec(text)?.[1] ?? ''

/** Reads a record; the answer says what is wrong with one that makes no event. */
export function readRecord(
  value: Json,
  { serverName, now }: { serverName: string; now: number },
): ImportRecord | FailedRecord {
  if (!isObject(value)) return failed('', 'M_BAD_JSON', 'The record is not an object')
  const { src_id: srcId, type, sender, ts, content, relates, state_key: stateKey } = value
  if (!isName(srcId))
    return failed('', 'M_INVALID_PARAM', '`src_id` is not a text of 1 to 255 characters')
  const fault = (error: string) => failed(srcId, 'M_INVALID_PARAM', error)
  if (typeof type !== 'string' || type === '' || !isStorable(type) || !isShortText(type))
    return fault('`type` is not a short text')
  if (typeof sender !== 'string' || !isUserId(sender)) return fault('`sender` is not a user ID')
  if (domainOf(sender) !== serverName) return fault('`sender` is not a user of this server')
  if (!Number.isSafeInteger(ts) || (ts as number) < 0) return fault('`ts` is not a time')
  if ((ts as number) > now + maxAheadMs) return fault('`ts` lies in the future')
  if (!isObject(content)) return fault('`content` is not an object')
  if (stateKey !== undefined)
    return failed(srcId, 'M_FORBIDDEN', 'A record may not change the state of the room')
  const related = readRelates(relates)
  if (typeof related === 'string') return fault(related)
  if ([related.thread, related.reply, related.target].includes(srcId))
    return fault('The record relates to itself')
  if (needsTarget(type) && related.target === undefined)
    return fault(`An event of type ${type} needs \`relates.target\``)
  if (related.target !== undefined && !isRedaction(type) && relTypeOf(type, related) === undefined)
    return fault('`relates.target` needs `relates.rel_type`')
  return { srcId, type, sender, ts: ts as number, content, relates: related }
}

/** Why a record failed, for the importer. */
export const failed = (srcId: string, errcode: Errcode, error: string): FailedRecord => ({
  src_id: srcId,
  errcode,
  error,
})

/** The record again, as JSON. */
export const recordText = ({ srcId, type, sender, ts, content, relates }: ImportRecord): string => {
  const { relType, ...others } = relates
  return JSON.stringify({
    src_id: srcId,
    type,
    sender,
    ts,
    content,
    relates: { ...others, ...(relType !== undefined && { rel_type: relType }) },
  })
}

function readRelates(value: Json | undefined): Relates | string {
  if (value === undefined || value === null) return {}
  if (!isObject(value)) return '`relates` is not an object'
  const { thread, reply, target, rel_type: relType, key } = value
  for (const name of [thread, reply, target])
    if (name !== undefined && name !== null && !isName(name))
      return '`relates` names what is no record'
  for (const text of [relType, key])
    if (text !== undefined && text !== null && (typeof text !== 'string' || !isStorable(text)))
      return '`relates` has what is no text'
  return {
    ...(isName(thread) && { thread }),
    ...(isName(reply) && { reply }),
    ...(isName(target) && { target }),
    ...(typeof relType === 'string' && { relType }),
    ...(typeof key === 'string' && { key }),
  }
}

const isName = (value: Json | undefined): value is string =>
  typeof value === 'string' &&
  value.length > 0 &&
  value.length <= maxNameLength &&
  isStorable(value)

/** What PostgreSQL keeps, and gives back as it was. */
const isStorable = (text: string) => !text.includes('\0') && text.isWellFormed()

const isRedaction = (type: string) => type === 'm.room.redaction'
const needsTarget = (type: string) => isRedaction(type) || type === 'm.reaction'

/** How an event relates to its target. */
export const relTypeOf = (type: string, { relType }: Relates): string | undefined =>
  relType ?? (type === 'm.reaction' ? 'm.annotation' : undefined)
