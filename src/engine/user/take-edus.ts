import { type DeviceListEdu, type Edu, type ToDeviceEdu, parseEdu } from '#core/event/edu.ts'
import { isDeviceKeys } from '#core/keys/device-keys.ts'
import { domainOf } from '#core/ids.ts'
import type { Json } from '#core/json.ts'
import { inTurns } from '#engine/user/keys/in-turns.ts'
import { storedKeys } from '#engine/user/keys/remote-answer.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as remoteDevices from '#store/user/remote-devices.ts'
import * as users from '#store/user/users.ts'

export type TakingEdus = {
  sql: Sql
  users: Users
  serverName: string
  clock: () => number
  /** Told that lists of devices may have become stale. */
  onDeviceLists?: () => void
  /** Given what may be lost, which nobody waits for. */
  onPassing?: (origin: string, edus: readonly Edu[]) => void
}

/** Devices that one to-device EDU may name; more than any client has is an attack. */
const maxMessages = 10_000

/**
 * Makes what must not be lost of some EDUs durable, through the owners of the users' shards: to-device
 * messages, device lists and signing keys. All are idempotent, so that a repetition doubles nothing.
 */
export async function takeEdus(
  taking: TakingEdus,
  origin: string,
  edus: readonly Json[],
): Promise<void> {
  const parsed = edus.map((edu) => parseEdu(edu, origin)).filter((edu) => typeof edu !== 'string')
  taking.onPassing?.(origin, parsed)
  const at = taking.clock()
  await Promise.all([
    takeMessages(
      taking,
      { origin, at },
      parsed.filter((edu) => edu.type === 'm.direct_to_device'),
    ),
    takeLists(taking, parsed.filter(isOfList)),
  ])
}

type SigningKeysEdu = Extract<Edu, { type: 'm.signing_key_update' }>
type ListEdu = DeviceListEdu | SigningKeysEdu

const isOfList = (edu: Edu): edu is ListEdu =>
  edu.type === 'm.device_list_update' || edu.type === 'm.signing_key_update'

type Origin = { origin: string; at: number }

async function takeMessages(
  taking: TakingEdus,
  origin: Origin,
  edus: readonly ToDeviceEdu[],
): Promise<void> {
  if (edus.length === 0) return
  const { sql, serverName } = taking
  const named = new Set<string>()
  for (const { messages } of edus)
    for (const { userId } of messages) if (domainOf(userId) === serverName) named.add(userId)
  // Nothing is kept in the name of users who are not there.
  const known = await users.existing(sql, [...named])
  await inTurns(edus.flatMap((edu) => deliveries(taking, origin, edu, known)))
}

function deliveries(
  taking: TakingEdus,
  { origin, at }: Origin,
  { sender, messageType: type, messageId, messages }: ToDeviceEdu,
  known: ReadonlySet<string>,
): (() => Promise<unknown>)[] {
  const byUser = new Map<string, [deviceId: string, content: string][]>()
  for (const { userId, deviceId, content } of messages.slice(0, maxMessages)) {
    if (!known.has(userId)) continue
    const own = byUser.get(userId) ?? []
    own.push([deviceId, JSON.stringify(content)])
    byUser.set(userId, own)
  }
  return Array.from(byUser, ([userId, own]) => () => {
    const received = { origin, messageId, at }
    return taking.users.call('deliverToDevice', userId, { sender, type, messages: own, received })
  })
}

/** What is said of users with whom nobody here shares a room is nothing to us. */
async function takeLists(taking: TakingEdus, edus: readonly ListEdu[]): Promise<void> {
  if (edus.length === 0) return
  const { sql, serverName, onDeviceLists } = taking
  const userIds = [...new Set(edus.map(({ userId }) => userId))]
  const known = await remoteDevices.sharing(sql, serverName, userIds)
  // In their order: each update says which one it follows.
  await Promise.all(
    edus
      .filter(({ userId }) => known.has(userId))
      .map((edu) =>
        edu.type === 'm.device_list_update'
          ? updateDevice(taking.users, edu)
          : updateKeys(taking.users, edu),
      ),
  )
  if (known.size > 0) onDeviceLists?.()
}

function updateDevice(owners: Users, edu: DeviceListEdu): Promise<unknown> {
  const { userId, deviceId, streamId, prevIds, deleted, displayName, keys } = edu
  const own = isDeviceKeys(keys) && keys['user_id'] === userId && keys['device_id'] === deviceId
  return owners.call('updateRemoteDevice', userId, {
    deviceId,
    streamId,
    prevIds: [...prevIds],
    deleted,
    keyed: own,
    content: JSON.stringify({ device_display_name: displayName, keys: own ? keys : undefined }),
  })
}

function updateKeys(owners: Users, edu: SigningKeysEdu): Promise<unknown> {
  const { userId, masterKey, selfSigningKey } = edu
  const keys = storedKeys(userId, {
    ...(masterKey && { master: masterKey }),
    ...(selfSigningKey && { self_signing: selfSigningKey }),
  })
  return owners.call('updateRemoteKeys', userId, keys)
}
