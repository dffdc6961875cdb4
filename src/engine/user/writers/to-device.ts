import type { Sql } from '#store/db.ts'
import * as toDevice from '#store/user/to-device.ts'
import type { CallsOf, UserLanded, Writers } from './writer.ts'

/** To-device messages of one sender for one user. */
export type ToDevice = {
  sender: string
  type: string
  /** Device ID, or `*` for every device there is, and the content as JSON text. */
  messages: (readonly [deviceId: string, content: string])[]
  /** Of a message from another server: a second one with the same pair has no effect. */
  received?: { origin: string; messageId: string; at: number }
}

/** Messages for devices. */
export type ToDeviceCalls = {
  /** For a local user. */
  deliverToDevice: (userId: string, message: ToDevice) => UserLanded
}

export const toDeviceWriters: Writers<ToDeviceCalls> = {
  deliverToDevice: { write: deliverToDevice, many: true },
}

async function deliverToDevice(
  sql: Sql,
  calls: CallsOf<ToDeviceCalls['deliverToDevice']>,
): Promise<void> {
  const claims = calls.flatMap(({ shard, userId, args: [{ received }] }) =>
    received ? [{ shard, userId, ...received }] : [],
  )
  const key = (...parts: string[]) => JSON.stringify(parts)
  const claimed = claims.length > 0 ? await toDevice.claim(sql, claims) : []
  const fresh = new Set(claimed.map((row) => key(row.user_id, row.origin, row.message_id)))
  const rows = calls.flatMap(({ shard, userId, position, args: [message] }) => {
    const { received, sender, type, messages } = message
    // Deleting also tells a second copy in the same batch from the first.
    if (received && !fresh.delete(key(userId, received.origin, received.messageId))) return []
    return messages.map(([deviceId, content]) => ({
      shard,
      userId,
      position,
      sender,
      type,
      deviceId,
      content,
    }))
  })
  if (rows.length > 0) await toDevice.add(sql, rows)
}
