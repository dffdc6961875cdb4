import { MatrixError, notFound } from '#core/error.ts'
import type { OneTimeKey } from '#core/keys/one-time-keys.ts'
import type { Sql } from '#store/db.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as dehydratedDevices from '#store/user/dehydrated-devices.ts'
import * as deviceKeys from '#store/user/device-keys.ts'
import * as devices from '#store/user/devices.ts'
import * as fallbackKeys from '#store/user/fallback-keys.ts'
import * as oneTimeKeys from '#store/user/one-time-keys.ts'
import * as toDevice from '#store/user/to-device.ts'
import { announceDevices, dropDevices } from './device-lists.ts'
import type { CallsOf, Commit, Results, UserLanded, Writers } from './writer.ts'

export type DehydratedDevice = {
  deviceId: string
  displayName: string | null
  /** JSON texts. */
  deviceData: string
  deviceKeys: string
  oneTimeKeys: OneTimeKey[]
  fallbackKeys: OneTimeKey[]
  createdAt: number
}

/** MSC3814: devices that are kept here, encrypted, until somebody logs in and takes them up. */
export type DehydratedDeviceCalls = {
  /** Takes the place of the one before. 403 if a device that is in use has its name, or a key. */
  putDehydratedDevice: (userId: string, device: DehydratedDevice) => UserLanded
  /** 404 if there is none. */
  deleteDehydratedDevice: (userId: string) => UserLanded & { deviceId: string }
}

export const dehydratedDeviceWriters: Writers<DehydratedDeviceCalls> = {
  putDehydratedDevice: { write: putDehydratedDevices, many: false },
  deleteDehydratedDevice: { write: deleteDehydratedDevices, many: false },
}

type Place = { shard: number; userId: string; position: number }

/** The dehydrated devices that these users have. */
async function dehydratedOf(sql: Sql, calls: readonly Place[]) {
  const rows = await dehydratedDevices.list(
    sql,
    calls.map(({ userId }) => userId),
    calls.map(({ shard }) => shard),
  )
  return new Map(rows.map((row) => [row.user_id, row.device_id]))
}

async function putDehydratedDevices(
  sql: Sql,
  calls: CallsOf<DehydratedDeviceCalls['putDehydratedDevice']>,
  commit: Commit,
): Promise<Results<DehydratedDeviceCalls['putDehydratedDevice']>> {
  const wanted = calls.map(({ args: [device], ...place }) => ({ ...place, ...device }))
  const [before, existing, namesakes] = await Promise.all([
    dehydratedOf(sql, calls),
    deviceKeys.find(sql, wanted),
    crossSigningKeys.namesakes(sql, wanted),
  ])
  const taken = new Set(namesakes.map((row) => row.user_id))
  for (const { user_id, device_id } of existing)
    if (before.get(user_id) !== device_id) taken.add(user_id)
  const faults: Results<DehydratedDeviceCalls['putDehydratedDevice']> = new Map()
  const good = wanted.filter(({ userId }, index) => {
    if (taken.has(userId)) faults.set(index, inUse())
    return !taken.has(userId)
  })
  await drop(
    sql,
    good.flatMap(({ shard, userId, position }) => {
      const deviceId = before.get(userId)
      return deviceId === undefined ? [] : [{ shard, userId, position, deviceId }]
    }),
    commit,
  )
  const keys = (of: 'oneTimeKeys' | 'fallbackKeys') =>
    good.flatMap(({ shard, userId, position, deviceId, ...device }) =>
      device[of].map((key) => ({ shard, userId, position, deviceId, ...key })),
    )
  const [oneTime, fallback] = [keys('oneTimeKeys'), keys('fallbackKeys')]
  await Promise.all([
    devices.add(sql, good),
    dehydratedDevices.put(sql, good),
    deviceKeys.put(
      sql,
      good.map((device) => ({ ...device, json: device.deviceKeys })),
    ),
    ...(oneTime.length > 0 ? [oneTimeKeys.add(sql, oneTime)] : []),
    ...(fallback.length > 0 ? [fallbackKeys.put(sql, fallback)] : []),
  ])
  await announceDevices(sql, good, commit)
  return faults
}

const inUse = () => new MatrixError(403, 'M_FORBIDDEN', 'The device ID is in use')

async function deleteDehydratedDevices(
  sql: Sql,
  calls: CallsOf<DehydratedDeviceCalls['deleteDehydratedDevice']>,
  commit: Commit,
): Promise<Results<DehydratedDeviceCalls['deleteDehydratedDevice']>> {
  const before = await dehydratedOf(sql, calls)
  const results: Results<DehydratedDeviceCalls['deleteDehydratedDevice']> = new Map()
  const gone = calls.flatMap(({ shard, userId, position }, index) => {
    const deviceId = before.get(userId)
    results.set(index, deviceId === undefined ? notFound('There is no such device') : { deviceId })
    return deviceId === undefined ? [] : [{ shard, userId, position, deviceId }]
  })
  await drop(sql, gone, commit)
  return results
}

async function drop(
  sql: Sql,
  gone: readonly (Place & { deviceId: string })[],
  commit: Commit,
): Promise<void> {
  if (gone.length === 0) return
  await Promise.all([
    devices.remove(sql, gone),
    toDevice.remove(sql, gone),
    dropDevices(sql, gone, commit),
  ])
}
