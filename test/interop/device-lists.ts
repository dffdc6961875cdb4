import { expect } from 'bun:test'
import { until } from '../until.ts'
import type { EncryptedDevice } from './encrypted-person.ts'

type Signed = { keys: object; signatures?: object; unsigned?: unknown }

/** What the server of a device says of the devices of users and of their keys for signing. */
async function told({ client }: EncryptedDevice, userIds: string[]): Promise<unknown> {
  const answer = await client.downloadKeysForUsers(userIds)
  return Object.fromEntries(
    userIds.map((userId) => {
      const essence = (key: Signed | undefined) => {
        if (!key) return undefined
        const { unsigned: _, signatures, ...rest } = key
        // Others' signatures are for them alone to see.
        return { ...rest, signature: (signatures as Record<string, object> | undefined)?.[userId] }
      }
      const devices = Object.entries(answer.device_keys[userId] ?? {})
        .map(([deviceId, keys]) => [deviceId, essence(keys)] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1))
      return [
        userId,
        {
          devices,
          master: essence(answer.master_keys?.[userId]),
          selfSigning: essence(answer.self_signing_keys?.[userId]),
        },
      ]
    }),
  )
}

/** The servers of two devices come to say the same of both users: that they have these devices. */
export async function agreeOnDevices(
  one: EncryptedDevice,
  two: EncryptedDevice,
  all: EncryptedDevice[],
): Promise<void> {
  const userIds = [one.userId, two.userId]
  const both = () => Promise.all([told(one, userIds), told(two, userIds)])
  await until(async () => {
    const [here, there] = await both()
    return Bun.deepEquals(here, there)
  })
  const [lists] = (await both()) as [Record<string, { devices: [string, unknown][] }>, unknown]
  for (const userId of userIds) {
    const own = all.filter((device) => device.userId === userId)
    expect(new Set(lists[userId]!.devices.map(([deviceId]) => deviceId))).toEqual(
      new Set(own.map(({ deviceId }) => deviceId)),
    )
  }
}
