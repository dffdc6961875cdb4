import { isObject, type JsonObject } from '#core/json.ts'

/**
 * The topic of a room as plain text: `m.room.topic`. Rich topics may bring it in `m.topic`.
 *
 * Spec: client-server-api/#mroomtopic
 */
export function topicOf(content: JsonObject | undefined): string | undefined {
  const rich = content?.['m.topic']
  const texts = isObject(rich) ? rich['m.text'] : undefined
  for (const text of Array.isArray(texts) ? texts : []) {
    if (!isObject(text) || typeof text['body'] !== 'string') continue
    const { mimetype = 'text/plain' } = text
    if (mimetype === 'text/plain') return text['body']
  }
  const topic = content?.['topic']
  return typeof topic === 'string' && topic !== '' ? topic : undefined
}
