import { domainOf, isCompliantUserId, isRoomId, isShortText } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'

/**
 * The six kinds of EDU. A server speaks only for its own users; what it says of others is left out,
 * or refused if nothing else is in the EDU.
 *
 * Spec: server-server-api/#edus
 */
export type Edu =
  | Readonly<{ type: 'm.typing'; roomId: string; userId: string; typing: boolean }>
  | Readonly<{ type: 'm.presence'; updates: readonly PresenceUpdate[] }>
  | Readonly<{ type: 'm.receipt'; receipts: readonly EduReceipt[] }>
  | ToDeviceEdu
  | DeviceListEdu
  | Readonly<{
      type: 'm.signing_key_update'
      userId: string
      masterKey: JsonObject | undefined
      selfSigningKey: JsonObject | undefined
    }>

export type PresenceUpdate = Readonly<{
  userId: string
  presence: 'offline' | 'online' | 'unavailable'
  statusMsg: string | undefined
  lastActiveAgo: number
  currentlyActive: boolean
}>

/** Only `m.read` travels. */
export type EduReceipt = Readonly<{
  roomId: string
  userId: string
  eventId: string
  threadId: string | undefined
  ts: number
}>

export type ToDeviceEdu = Readonly<{
  type: 'm.direct_to_device'
  sender: string
  messageType: string
  /** With the origin, what makes receiving it twice harmless. */
  messageId: string
  messages: readonly Readonly<{ userId: string; deviceId: string; content: JsonObject }>[]
}>

export type DeviceListEdu = Readonly<{
  type: 'm.device_list_update'
  userId: string
  deviceId: string
  streamId: number
  prevIds: readonly number[]
  deleted: boolean
  displayName: string | undefined
  keys: JsonObject | undefined
}>

/** Checks an EDU of this origin; a text says why it is refused. */
export function parseEdu(json: unknown, origin: string): Edu | string {
  const type = isObject(json) ? json['edu_type'] : undefined
  const content = isObject(json) ? json['content'] : undefined
  if (typeof type !== 'string' || !isObject(content)) return 'The EDU has no type or no content'
  switch (type) {
    case 'm.typing':
      return parseTyping(content, origin)
    case 'm.presence':
      return parsePresence(content, origin)
    case 'm.receipt':
      return { type, receipts: [...readReceipts(content, origin)] }
    case 'm.direct_to_device':
      return parseToDevice(content, origin)
    case 'm.device_list_update':
      return parseDeviceList(content, origin)
    case 'm.signing_key_update':
      return parseSigningKeys(content, origin)
    default:
      return 'The EDU is of an unknown type'
  }
}

/** A user of the origin, of an ID that may be shown to clients. */
const isUserOf = (user: Json | undefined, origin: string): user is string =>
  typeof user === 'string' && isCompliantUserId(user) && domainOf(user) === origin

const isText = (value: Json | undefined): value is string =>
  typeof value === 'string' && isShortText(value)

const isCount = (value: Json | undefined): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0

function parseTyping(content: JsonObject, origin: string): Edu | string {
  const { room_id: roomId, user_id: userId, typing } = content
  if (typeof roomId !== 'string' || !isRoomId(roomId)) return 'm.typing has no room'
  if (!isUserOf(userId, origin)) return 'm.typing is not of a user of the origin'
  return { type: 'm.typing', roomId, userId, typing: typing === true }
}

function parsePresence(content: JsonObject, origin: string): Edu | string {
  const { push } = content
  if (!Array.isArray(push)) return 'm.presence has no updates'
  const updates: PresenceUpdate[] = []
  for (const update of push) {
    if (!isObject(update)) continue
    const { user_id: userId, presence, status_msg: statusMsg } = update
    if (!isUserOf(userId, origin)) continue
    if (presence !== 'offline' && presence !== 'online' && presence !== 'unavailable') continue
    const { last_active_ago: ago } = update
    updates.push({
      userId,
      presence,
      statusMsg: typeof statusMsg === 'string' ? statusMsg : undefined,
      lastActiveAgo: isCount(ago) ? ago : 0,
      currentlyActive: update['currently_active'] === true,
    })
  }
  return { type: 'm.presence', updates }
}

function* readReceipts(content: JsonObject, origin: string): Generator<EduReceipt> {
  for (const [roomId, byType] of Object.entries(content)) {
    const reads = isRoomId(roomId) && isObject(byType) ? byType['m.read'] : undefined
    if (!isObject(reads)) continue
    for (const [userId, receipt] of Object.entries(reads)) {
      if (!isUserOf(userId, origin) || !isObject(receipt)) continue
      const { event_ids: eventIds, data } = receipt
      // The list may hold one ID; of more, the last is the furthest.
      const eventId = Array.isArray(eventIds) ? eventIds.at(-1) : undefined
      if (!isText(eventId) || !eventId.startsWith('$') || !isObject(data)) continue
      const { ts, thread_id: threadId } = data
      if (threadId !== undefined && !isText(threadId)) continue
      yield { roomId, userId, eventId, threadId, ts: isCount(ts) ? ts : 0 }
    }
  }
}

function parseToDevice(content: JsonObject, origin: string): ToDeviceEdu | string {
  const { sender, type, message_id: messageId, messages } = content
  if (!isUserOf(sender, origin)) return 'm.direct_to_device is not of a user of the origin'
  if (!isText(type)) return 'm.direct_to_device has no type'
  if (!isText(messageId)) return 'm.direct_to_device has no message ID'
  if (!isObject(messages)) return 'm.direct_to_device has no messages'
  const list: { userId: string; deviceId: string; content: JsonObject }[] = []
  for (const [userId, devices] of Object.entries(messages)) {
    if (!isCompliantUserId(userId) || !isObject(devices)) continue
    for (const [deviceId, message] of Object.entries(devices))
      if (isShortText(deviceId) && isObject(message))
        list.push({ userId, deviceId, content: message })
  }
  return { type: 'm.direct_to_device', sender, messageType: type, messageId, messages: list }
}

function parseDeviceList(content: JsonObject, origin: string): DeviceListEdu | string {
  const { user_id: userId, device_id: deviceId, stream_id: streamId, keys } = content
  if (!isUserOf(userId, origin)) return 'm.device_list_update is not of a user of the origin'
  if (!isText(deviceId)) return 'm.device_list_update has no device'
  if (!isCount(streamId)) return 'm.device_list_update has no stream ID'
  const { prev_id: prevIds = [], device_display_name: displayName } = content
  if (!Array.isArray(prevIds) || !prevIds.every(isCount))
    return 'm.device_list_update has previous IDs that are none'
  return {
    type: 'm.device_list_update',
    userId,
    deviceId,
    streamId,
    prevIds,
    deleted: content['deleted'] === true,
    displayName: typeof displayName === 'string' ? displayName : undefined,
    keys: isObject(keys) ? keys : undefined,
  }
}

function parseSigningKeys(content: JsonObject, origin: string): Edu | string {
  const { user_id: userId, master_key: masterKey, self_signing_key: selfSigningKey } = content
  if (!isUserOf(userId, origin)) return 'm.signing_key_update is not of a user of the origin'
  return {
    type: 'm.signing_key_update',
    userId,
    masterKey: isObject(masterKey) ? masterKey : undefined,
    selfSigningKey: isObject(selfSigningKey) ? selfSigningKey : undefined,
  }
}
