import { parseJson } from '#core/canonical-json.ts'
import { historicalFlag, historyKeyOf } from '#core/content/msc2716.ts'
import { invalidParam, missingParam } from '#core/error.ts'
import { isObject, type Json, type JsonObject, setKey } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/** An event of a batch before it has its place in the graph. */
export type Draft = {
  type: string
  sender: string
  stateKey?: string
  content: JsonObject
  timestamp: number
  redacts?: string
  /** What others of the batch call it, which come before its ID is known. */
  name?: string
}

/**
 * Not of the MSC, which knows no replies, threads or reactions within a batch: the IDs of its events are
 * not known before. An event may have a name under this key, and later ones relate to it as to
 * `laneway.name:` and that name in place of an event ID.
 */
const nameKey = 'laneway.name'
const namePrefix = `${nameKey}:`

/** Reads a list of events that a caller gives as text; for its errors, `name` is what it is called. */
export function readDrafts(text: string, name: string, withStateKey: boolean): Draft[] {
  const list = parseJson(text)
  if (!Array.isArray(list)) throw invalidParam(`${name} is not a list`)
  return list.map((each: Json, index) => readDraft(each, `${name}.${index}`, withStateKey))
}

function readDraft(value: Json, name: string, withStateKey: boolean): Draft {
  if (!isObject(value)) throw invalidParam(`${name} is not an object`)
  const text = (key: string): string => {
    const found = value[key]
    if (found === undefined) throw missingParam(`${name}.${key} is missing`)
    if (typeof found !== 'string') throw invalidParam(`${name}.${key} is not a text`)
    return found
  }
  const { content, origin_server_ts: timestamp, redacts } = value
  const draft: Draft = { type: text('type'), sender: text('sender'), content: {}, timestamp: 0 }
  if (withStateKey) draft.stateKey = text('state_key')
  if (content === undefined) throw missingParam(`${name}.content is missing`)
  if (!isObject(content)) throw invalidParam(`${name}.content is not an object`)
  if (timestamp === undefined) throw missingParam(`${name}.origin_server_ts is missing`)
  if (!Number.isSafeInteger(timestamp) || (timestamp as number) < 0)
    throw invalidParam(`${name}.origin_server_ts is no time in milliseconds`)
  draft.timestamp = timestamp as number
  draft.content = { ...content, [historicalFlag]: true }
  if (typeof value[nameKey] === 'string') draft.name = value[nameKey]
  const target = redacts ?? content['redacts']
  if (draft.type === 'm.room.redaction' && typeof target === 'string') draft.redacts = target
  return draft
}

/** An insertion or batch event of ours. */
export function linkDraft(
  version: RoomVersion,
  link: { type: string; batchId: string; sender: string; timestamp: number },
): Draft {
  const { type, batchId, sender, timestamp } = link
  const content: JsonObject = { [historicalFlag]: true }
  setKey(content, historyKeyOf(version, type)!, batchId)
  return { type, sender, content, timestamp }
}

/** A draft that relates to events by their IDs, where it named them; `ids` are those of the batch so far. */
export function withIds(draft: Draft, ids: ReadonlyMap<string, string>): Draft {
  const resolve = (id: Json | undefined): string | undefined => {
    if (typeof id !== 'string' || !id.startsWith(namePrefix)) return undefined
    const found = ids.get(id.slice(namePrefix.length))
    if (found === undefined) throw invalidParam(`${id} is no earlier event of the batch`)
    return found
  }
  const resolved = { ...draft }
  const redacts = resolve(draft.redacts)
  if (redacts !== undefined) resolved.redacts = redacts
  const relation = draft.content['m.relates_to']
  if (!isObject(relation)) return resolved
  const changed: JsonObject = { ...relation }
  const target = resolve(relation['event_id'])
  if (target !== undefined) changed['event_id'] = target
  const replied = relation['m.in_reply_to']
  if (isObject(replied)) {
    const to = resolve(replied['event_id'])
    if (to !== undefined) changed['m.in_reply_to'] = { ...replied, event_id: to }
  }
  resolved.content = { ...draft.content, 'm.relates_to': changed }
  return resolved
}
