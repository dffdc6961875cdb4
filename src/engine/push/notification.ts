import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import type { Item } from '#store/push/queue.ts'
import type { Surroundings, Told } from './surroundings.ts'

/**
 * What a push gateway is told.
 *
 * Spec: push-gateway-api/#post_matrixpushv1notify
 */
export function eventBody(
  { item, pdu }: Told,
  { roomName, roomAlias, senderName }: Surroundings,
  unread: number,
): string {
  const tweaks = tweaksOf(item.actions)
  const { version, room_id: roomId, user_id: userId } = item
  const short: JsonObject = {
    event_id: unpackEventId(item.event_id, roomVersions.get(version)!),
    room_id: roomId,
    prio: isUrgent(pdu, tweaks) ? 'high' : 'low',
    // Counts that are zero are left out.
    counts: unread > 0 ? { unread } : {},
    devices: [deviceOf(item, tweaks)],
  }
  if (dataOf(item)['format'] === 'event_id_only') return JSON.stringify({ notification: short })
  const { type, sender, content, state_key: key } = pdu
  const whole: JsonObject = {
    ...short,
    type: type ?? null,
    sender: sender ?? null,
    ...(senderName !== undefined && { sender_display_name: senderName }),
    ...(roomName !== undefined && { room_name: roomName }),
    ...(roomAlias !== undefined && { room_alias: roomAlias }),
    ...(type === 'm.room.member' && { user_is_target: key === userId }),
    content: content ?? {},
  }
  return JSON.stringify({ notification: whole })
}

/**
 * The same for nothing but the count. Not spec: one of zero should be left out, but gateways take what is
 * left out for unchanged, and it is for the zero that this is sent.
 */
export const countBody = (item: Item, unread: number): string =>
  JSON.stringify({ notification: { counts: { unread }, devices: [deviceOf(item, {})] } })

/** All that the client left for its gateway, but the address. */
function deviceOf(item: Item, tweaks: JsonObject): JsonObject {
  const { url: _, ...data } = dataOf(item)
  return {
    app_id: item.app_id,
    pushkey: item.pushkey,
    pushkey_ts: Math.floor(item.created_at / 1000),
    data,
    tweaks,
  }
}

const dataOf = ({ data }: Item): JsonObject => JSON.parse(data) as JsonObject

/** Where a pusher over HTTP sends to. */
export const urlOf = (item: Item): string => dataOf(item)['url'] as string

/** Spec: client-server-api/#actions */
function tweaksOf(actions: string | null): JsonObject {
  const tweaks: [string, Json][] = []
  for (const action of JSON.parse(actions ?? '[]') as Json[]) {
    if (!isObject(action) || typeof action['set_tweak'] !== 'string') continue
    const { set_tweak: name, value } = action
    // A highlight without a value is one.
    if (value !== undefined) tweaks.push([name as string, value])
    else if (name === 'highlight') tweaks.push([name, true])
  }
  return Object.fromEntries(tweaks)
}

/** What makes no sound and names nobody can wait until the phone is awake. Not so what we cannot read. */
const isUrgent = ({ type }: JsonObject, tweaks: JsonObject): boolean =>
  type === 'm.room.encrypted' || tweaks['sound'] !== undefined || tweaks['highlight'] === true
