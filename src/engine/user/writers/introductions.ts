import type { Sql } from '#store/db.ts'
import * as outboxEdus from '#store/federation/outbox-edus.ts'
import * as deviceKeys from '#store/user/device-keys.ts'
import * as deviceLists from '#store/user/device-lists.ts'
import * as devices from '#store/user/devices.ts'
import { describeDevice } from './device-lists.ts'
import { type CallsOf, type Commit, type UserLanded, type Writers, lastOf } from './writer.ts'

/** Device lists of local users, where they are new. */
export type IntroductionCalls = {
  /** A user joined a room: servers there that have got no updates of their devices get one. */
  introduceDevices: (userId: string, roomId: string) => UserLanded
}

export const introductionWriters: Writers<IntroductionCalls> = {
  introduceDevices: { write: introduceDevices, many: true },
}

/**
 * One update is enough, of the newest device and with the number of the last change: it follows none
 * that the other server knows, which therefore fetches the list.
 *
 * Spec: server-server-api/#device-management
 */
async function introduceDevices(
  sql: Sql,
  calls: CallsOf<IntroductionCalls['introduceDevices']>,
  commit: Commit,
): Promise<void> {
  const users = [calls.map(({ shard }) => shard), calls.map(({ userId }) => userId)] as const
  const [newest, streams] = await Promise.all([
    devices.newest(sql, ...users),
    deviceLists.streams(sql, users[1], users[0]),
  ])
  const found = await deviceKeys.find(
    sql,
    newest.map((row) => ({ shard: row.shard, userId: row.user_id, deviceId: row.device_id })),
  )
  const streamOf = new Map(streams.map((row) => [row.user_id, row.stream_id]))
  const texts = new Map(
    found.map((device) => {
      const content = {
        user_id: device.user_id,
        device_id: device.device_id,
        stream_id: streamOf.get(device.user_id) ?? 0,
        prev_id: [],
        ...describeDevice(device, commit.deviceNames),
      }
      return [device.user_id, JSON.stringify({ edu_type: 'm.device_list_update', content })]
    }),
  )
  const rows = calls.flatMap(({ userId, args: [roomId] }) => {
    const json = texts.get(userId)
    return json === undefined ? [] : [{ userId, roomId, json }]
  })
  if (rows.length === 0) return
  const once = lastOf(rows, (row) => [row.userId, row.roomId])
  for (const server of await outboxEdus.addForNew(sql, once)) commit.outbox.add(server)
}
