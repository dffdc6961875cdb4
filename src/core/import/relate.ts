import { type ImportRecord, relTypeOf } from '#core/import/record.ts'
import { isObject, type JsonObject } from '#core/json.ts'

/** The records that one relates to. */
export const relatedTo = ({ relates: { thread, reply, target } }: ImportRecord): string[] =>
  [thread, reply, target].filter((name) => name !== undefined)

/** What an event of a record holds, once it is known which events its relations mean. */
export type Related = {
  content: JsonObject
  redacts?: string
  /** Something that it relates to is not there, and was left out. */
  isDegraded: boolean
}

/**
 * Names events where a record names records. What is not there is left out, if the record can stand
 * without it: a reply becomes a message, an edit the message that it makes of the other. Undefined for
 * what says nothing by itself.
 *
 * Spec: client-server-api/#forming-relationships-between-events, #threading
 */
export function relate(
  record: ImportRecord,
  eventOf: (srcId: string) => string | undefined,
): Related | undefined {
  const { type, content, relates } = record
  const find = (name: string | undefined) => (name === undefined ? undefined : eventOf(name))
  const isDegraded = relatedTo(record).some((name) => find(name) === undefined)
  if (relates.target !== undefined) {
    const target = find(relates.target)
    if (type === 'm.room.redaction')
      return target === undefined ? undefined : { content, redacts: target, isDegraded }
    const relType = relTypeOf(type, relates)!
    if (target !== undefined) {
      const relation = {
        event_id: target,
        rel_type: relType,
        ...(relates.key !== undefined && { key: relates.key }),
      }
      return { content: { ...content, 'm.relates_to': relation }, isDegraded }
    }
    if (relType === 'm.replace' && isObject(content['m.new_content']))
      return { content: content['m.new_content'], isDegraded }
    return undefined
  }
  const reply = find(relates.reply)
  const thread = find(relates.thread)
  if (thread !== undefined) {
    const relation = {
      event_id: thread,
      // Clients that know no threads show it as a reply.
      is_falling_back: reply === undefined,
      'm.in_reply_to': { event_id: reply ?? thread },
      rel_type: 'm.thread',
    }
    return { content: { ...content, 'm.relates_to': relation }, isDegraded }
  }
  if (reply !== undefined)
    return {
      content: { ...content, 'm.relates_to': { 'm.in_reply_to': { event_id: reply } } },
      isDegraded,
    }
  return { content, isDegraded }
}
