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
}

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
