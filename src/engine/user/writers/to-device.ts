import type { Sql } from '#store/db.ts'
import * as outboxEdus from '#store/federation/outbox-edus.ts'
import * as toDevice from '#store/user/to-device.ts'
import type { CallsOf, Commit, UserLanded, Writers } from './writer.ts'

/** To-device messages of one sender for one user. */
export type ToDevice = {
  sender: string
  type: string
  /** Device ID, or `*` for every device there is, and the content as JSON text. */
  messages: (readonly [deviceId: string, content: string])[]
  /** Whose message it is, by the server that it came from: a second one of the same has no effect. */
  received?: Received
}

type Received = { origin: string; messageId: string; at: number }

/** Messages for devices. */
export type ToDeviceCalls = {
  /** For a local user. */
  deliverToDevice: (userId: string, message: ToDevice) => UserLanded
  /** From a local user to users of other servers, as EDUs, JSON text, by server. */
  sendToDevice: (
    userId: string,
    edus: (readonly [server: string, json: string])[],
    sent: Received,
  ) => UserLanded
}

export const toDeviceWriters: Writers<ToDeviceCalls> = {
  deliverToDevice: { write: deliverToDevice, many: true },
  sendToDevice: { write: sendToDevice, many: true },
}

/** A name for one message of one user. */
const nameOf = (userId: string, origin: string, messageId: string) =>
  JSON.stringify([userId, origin, messageId])

/** Claims messages; answers the names of those that were not here before. */
async function claimFresh(sql: Sql, claims: readonly toDevice.Received[]): Promise<Set<string>> {
  const claimed = claims.length > 0 ? await toDevice.claim(sql, claims) : []
  return new Set(claimed.map((row) => nameOf(row.user_id, row.origin, row.message_id)))
}

async function deliverToDevice(
  sql: Sql,
  calls: CallsOf<ToDeviceCalls['deliverToDevice']>,
  commit: Commit,
): Promise<void> {
  const claims = calls.flatMap(({ shard, userId, args: [{ received }] }) =>
    received ? [{ shard, userId, ...received }] : [],
  )
  const fresh = await claimFresh(sql, claims)
  const rows = calls.flatMap(({ shard, userId, position, args: [message] }) => {
    const { received, sender, type, messages } = message
    // Deleting also tells a second copy in the same batch from the first.
    if (received && !fresh.delete(nameOf(userId, received.origin, received.messageId))) return []
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
  if (rows.length > 0) commit.notKept = await toDevice.add(sql, rows)
}

async function sendToDevice(
  sql: Sql,
  calls: CallsOf<ToDeviceCalls['sendToDevice']>,
  commit: Commit,
): Promise<void> {
  const fresh = await claimFresh(
    sql,
    calls.map(({ shard, userId, args: [, sent] }) => ({ shard, userId, ...sent })),
  )
  const rows = calls.flatMap(({ userId, args: [edus, { origin, messageId }] }) =>
    fresh.delete(nameOf(userId, origin, messageId))
      ? edus.map(([server, json]) => ({ server, json }))
      : [],
  )
  if (rows.length === 0) return
  await outboxEdus.add(sql, rows)
  for (const { server } of rows) commit.outbox.add(server)
}
