import { createHash } from 'node:crypto'
import { badJson, invalidParam } from '#core/error.ts'
import { domainOf, isShortText, isUserId } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { inTurns } from '#engine/user/keys/in-turns.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as accounts from '#store/user/users.ts'

/** Not spec: characters of one EDU, as other servers bound theirs; a single message may be larger. */
const maxEduChars = 65_536

type Sending = { sql: Sql; users: Users; serverName: string; clock: () => number }

export type ToDeviceRequest = {
  sender: string
  /** '' if an application service sends without one. */
  deviceId: string
  type: string
  txnId: string
  /** By user and device; what is no content is refused. */
  messages: JsonObject
}

/**
 * Leaves messages for devices: local ones in their stores, others in the queues of their servers. A
 * request that is repeated, whole or after a failure in its middle, doubles nothing: each recipient,
 * and each server, knows the message by an ID that is made of the device and the transaction.
 *
 * Spec: client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid
 */
export async function sendToDevice(
  { sql, users, serverName, clock }: Sending,
  { sender, deviceId, type, txnId, messages }: ToDeviceRequest,
): Promise<void> {
  if (!isShortText(type)) throw invalidParam('The type of an event has 255 bytes at most')
  const id = (part: string) => messageId(sender, deviceId, type, txnId, part)
  const at = clock()
  const byServer = new Map<string, [userId: string, devices: JsonObject][]>()
  const local = new Map<string, JsonObject>()
  for (const [userId, devices] of Object.entries(messages)) {
    requireMessages(userId, devices)
    const server = domainOf(userId)!
    if (server !== serverName) {
      const list = byServer.get(server)
      if (list) list.push([userId, devices])
      else byServer.set(server, [[userId, devices]])
      continue
    }
    local.set(userId, devices)
  }
  // Nothing is kept in the name of users who are not there.
  const known = await accounts.existing(sql, [...local.keys()])
  const deliveries = [...local].flatMap(([userId, devices]): (() => Promise<unknown>)[] => {
    const contents = Object.entries(devices).map(
      ([device, content]) => [device, JSON.stringify(content)] as const,
    )
    const received = { origin: serverName, messageId: id(''), at }
    if (contents.length === 0 || !known.has(userId)) return []
    return [
      () => users.call('deliverToDevice', userId, { sender, type, messages: contents, received }),
    ]
  })
  const edus = Array.from(byServer, ([server, list]) =>
    split(list).map((part, index) => {
      const content = { sender, type, message_id: id(`${server} ${index}`), messages: part }
      return [server, JSON.stringify({ edu_type: 'm.direct_to_device', content })] as const
    }),
  ).flat()
  if (edus.length > 0) {
    const sent = { origin: serverName, messageId: id(' '), at }
    deliveries.push(() => users.call('sendToDevice', sender, edus, sent))
  }
  await inTurns(deliveries)
}

function requireMessages(userId: string, devices: unknown): asserts devices is JsonObject {
  if (!isUserId(userId)) throw invalidParam(`'${userId}' is not a user ID`)
  if (!isObject(devices)) throw badJson(`The messages for ${userId} are not a map of devices`)
  for (const [deviceId, content] of Object.entries(devices)) {
    if (!isShortText(deviceId)) throw invalidParam('The ID of a device has 255 bytes at most')
    if (!isObject(content)) throw badJson(`The message for ${userId} is not an object`)
  }
}

/** Deals messages to as many EDUs as their size asks for, always in the same way. */
function split(list: readonly [userId: string, devices: JsonObject][]): JsonObject[] {
  const parts: JsonObject[] = []
  let part: JsonObject = {}
  let chars = 0
  for (const [userId, devices] of list)
    for (const [deviceId, content] of Object.entries(devices)) {
      const length = JSON.stringify(content).length + deviceId.length + userId.length
      if (chars > 0 && chars + length > maxEduChars) {
        parts.push(part)
        part = {}
        chars = 0
      }
      part[userId] = { ...(part[userId] as JsonObject | undefined), [deviceId]: content }
      chars += length
    }
  if (chars > 0) parts.push(part)
  return parts
}

/** Spec: server-server-api/#send-to-device-messaging (32 characters at most) */
const messageId = (...parts: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(parts)).digest('base64url').slice(0, 32)
