import { isObject, type JsonObject } from '#core/json.ts'

/**
 * What of an event is searched, by its type.
 *
 * Spec: client-server-api/#server-side-search
 */
const keys: Readonly<Record<string, string>> = {
  'm.room.message': 'body',
  'm.room.name': 'name',
  'm.room.topic': 'topic',
}

/** The types of events that are searched. */
export const searchedTypes: readonly string[] = Object.keys(keys)

/** The type of event whose text a key such as `content.body` names. */
export const typeOfKey = (key: string): string | undefined =>
  searchedTypes.find((type) => key === `content.${keys[type]}`)

/** The text of an event in which words are looked for; undefined if it has none. */
export function searchTextOf(type: string, content: JsonObject): string | undefined {
  const key = Object.hasOwn(keys, type) ? keys[type]! : undefined
  if (key === undefined) return undefined
  const texts = [content[key], type === 'm.room.topic' ? plainTopic(content) : undefined]
  const found = texts.filter((text): text is string => typeof text === 'string' && text !== '')
  return found.length > 0 ? [...new Set(found)].join(' ') : undefined
}

function plainTopic(content: JsonObject): string | undefined {
  const topic = content['m.topic']
  const list = isObject(topic) ? topic['m.text'] : undefined
  if (!Array.isArray(list)) return undefined
  for (const each of list) {
    if (!isObject(each)) continue
    const { mimetype = 'text/plain', body } = each
    if (mimetype === 'text/plain' && typeof body === 'string') return body
  }
  return undefined
}
