import type { Sql } from '#store/db.ts'
import * as remoteDevices from '#store/user/remote-devices.ts'
import { type CallsOf, type UserLanded, type Writers, lastOf } from './writer.ts'

/** One device of another server's user changed. */
export type RemoteDevice = {
  deviceId: string
  streamId: number
  /** The updates before it; one that we do not know means that we missed some. */
  prevIds: number[]
  deleted: boolean
  /** The update as JSON text. */
  content: string
}

/** What other servers tell of their users' devices. */
export type RemoteDeviceCalls = {
  /** For a user of another server; idempotent by its stream ID. */
  updateRemoteDevice: (userId: string, update: RemoteDevice) => UserLanded
}

export const remoteDeviceWriters: Writers<RemoteDeviceCalls> = {
  updateRemoteDevice: { write: updateRemoteDevices, many: true },
}

/**
 * Takes in updates of device lists. One that cites an update later than any we know tells that some
 * were missed: the list is then stale until it is asked for as a whole.
 *
 * Spec: server-server-api/#device-management
 */
async function updateRemoteDevices(
  sql: Sql,
  calls: CallsOf<RemoteDeviceCalls['updateRemoteDevice']>,
): Promise<void> {
  const stored = await remoteDevices.lists(
    sql,
    calls.map(({ userId }) => userId),
    calls.map(({ shard }) => shard),
  )
  const known = new Map(
    stored.map((row) => [row.user_id, { streamId: row.stream_id, stale: row.stale }]),
  )
  const lists = new Map<string, remoteDevices.DeviceList>()
  for (const { shard, userId, position, args } of calls) {
    const [{ streamId, prevIds }] = args
    const list = known.get(userId) ?? { streamId: -1, stale: false }
    const next = {
      streamId: Math.max(list.streamId, streamId),
      stale: list.stale || prevIds.some((id) => id > list.streamId),
    }
    // What was there before changes nothing, and gets no new position.
    if (next.streamId === list.streamId && next.stale === list.stale) continue
    known.set(userId, next)
    lists.set(userId, { shard, userId, position, ...next })
  }
  const rows = calls.map(({ shard, userId, args: [update] }) => ({ shard, userId, ...update }))
  // Of two updates of a device in one batch the later one counts, whatever order they came in.
  rows.sort((a, b) => a.streamId - b.streamId)
  await Promise.all([
    remoteDevices.putLists(sql, [...lists.values()]),
    remoteDevices.put(
      sql,
      lastOf(rows, (row) => [row.userId, row.deviceId]),
    ),
  ])
}
