import { isObject, type Json, type JsonObject } from '#core/json.ts'

const durableEdus = new Set(['m.direct_to_device', 'm.device_list_update', 'm.signing_key_update'])

/** Whether it brings what must not be lost. */
export const isDurable = (edu: Json): edu is JsonObject =>
  isObject(edu) && typeof edu['edu_type'] === 'string' && durableEdus.has(edu['edu_type'])

/** How many messages to devices these bring. */
export function messagesIn(edus: readonly Json[]): number {
  let count = 0
  for (const edu of edus) {
    if (!isObject(edu) || edu['edu_type'] !== 'm.direct_to_device') continue
    const content = edu['content']
    const messages = isObject(content) ? content['messages'] : undefined
    if (!isObject(messages)) continue
    for (const devices of Object.values(messages))
      count += isObject(devices) ? Object.keys(devices).length : 1
  }
  return count
}
