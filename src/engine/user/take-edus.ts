import { parseEdu, type DeviceListEdu, type ToDeviceEdu } from '#core/event/edu.ts'
import { domainOf } from '#core/ids.ts'
import type { Json } from '#core/json.ts'
import type { Users } from '#engine/user/protocol.ts'

/** Devices that one to-device EDU may name; more than any client has is an attack. */
const maxMessages = 10_000

/**
 * Makes what must not be lost of some EDUs durable, through the owners of the users' shards: to-device
 * messages and device lists. Both are idempotent, so that a repetition doubles nothing.
 */
export async function takeEdus(
  users: Users,
  serverName: string,
  clock: () => number,
  origin: string,
  edus: readonly Json[],
): Promise<void> {
  const parsed = edus.map((edu) => parseEdu(edu, origin))
  await Promise.all(
    parsed.flatMap((edu) => {
      if (typeof edu === 'string') return []
      if (edu.type === 'm.direct_to_device')
        return deliver(users, serverName, { origin, at: clock() }, edu)
      if (edu.type === 'm.device_list_update') return [updateDevice(users, edu)]
      return []
    }),
  )
}

function deliver(
  users: Users,
  serverName: string,
  { origin, at }: { origin: string; at: number },
  { sender, messageType: type, messageId, messages }: ToDeviceEdu,
): Promise<unknown>[] {
  const byUser = new Map<string, [deviceId: string, content: string][]>()
  for (const { userId, deviceId, content } of messages.slice(0, maxMessages)) {
    if (domainOf(userId) !== serverName) continue
    const own = byUser.get(userId) ?? []
    own.push([deviceId, JSON.stringify(content)])
    byUser.set(userId, own)
  }
  return Array.from(byUser, ([userId, own]) =>
    users.call('deliverToDevice', userId, {
      sender,
      type,
      messages: own,
      received: { origin, messageId, at },
    }),
  )
}

function updateDevice(users: Users, edu: DeviceListEdu): Promise<unknown> {
  const { userId, deviceId, streamId, prevIds, deleted, displayName, keys } = edu
  return users.call('updateRemoteDevice', userId, {
    deviceId,
    streamId,
    prevIds: [...prevIds],
    deleted,
    content: JSON.stringify({ device_display_name: displayName, keys }),
  })
}
