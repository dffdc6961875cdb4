import { MatrixError } from '#core/error.ts'
import type { RemoteDevice, ToDevice, UserCalls } from '#engine/user/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as accessTokens from '#store/user/access-tokens.ts'
import * as accountData from '#store/user/account-data.ts'
import * as devices from '#store/user/devices.ts'
import * as forgottenRooms from '#store/user/forgotten-rooms.ts'
import * as profiles from '#store/user/profiles.ts'
import * as remoteDevices from '#store/user/remote-devices.ts'
import * as toDevice from '#store/user/to-device.ts'
import * as users from '#store/user/users.ts'

/** One call, with the position it was given. */
export type Placed<A> = { shard: number; userId: string; position: number; args: A }

type Rest<M extends keyof UserCalls> =
  Parameters<UserCalls[M]> extends [string, ...infer R] ? R : never

/** What went wrong with single calls, by their place in the list; the others are done. */
export type Faults = Map<number, MatrixError>

type Writer<M extends keyof UserCalls> = {
  /** Writes all calls of one kind with a few statements, in the order of the list. */
  write(sql: Sql, calls: readonly Placed<Rest<M>>[]): Promise<Faults | void>
  /** Whether several calls of one user may be in a batch. */
  many: boolean
}

/** How the calls of a batch are written, kind by kind. */
export const writers: { [M in keyof UserCalls]: Writer<M> } = {
  createUser: { write: createUsers, many: false },
  createSession: { write: createSessions, many: false },
  endSession: { write: endSessions, many: false },
  endAllSessions: { write: endAllSessions, many: false },
  putAccountData: { write: putAccountData, many: true },
  putProfileField: { write: putProfileFields, many: true },
  forgetRoom: { write: forgetRooms, many: true },
  deliverToDevice: { write: deliverToDevice, many: true },
  updateRemoteDevice: { write: updateRemoteDevices, many: true },
}

async function createUsers(
  sql: Sql,
  calls: readonly Placed<Rest<'createUser'>>[],
): Promise<Faults> {
  const added = await users.add(
    sql,
    calls.map(({ userId, shard, args: [account] }) => ({
      userId,
      shard,
      passwordHash: account.passwordHash ?? null,
      admin: account.admin,
      createdAt: account.createdAt,
    })),
  )
  const made = new Set(added.map((row) => row.user_id))
  const faults: Faults = new Map()
  for (const [index, { userId }] of calls.entries())
    if (!made.has(userId))
      faults.set(index, new MatrixError(400, 'M_USER_IN_USE', 'The user ID is taken'))
  return faults
}

async function createSessions(
  sql: Sql,
  calls: readonly Placed<Rest<'createSession'>>[],
): Promise<void> {
  const rows = calls.map(({ shard, userId, args: [session] }) => ({
    shard,
    userId,
    ...session,
    displayName: session.displayName ?? null,
  }))
  await Promise.all([
    accessTokens.remove(sql, rows),
    devices.add(sql, rows),
    accessTokens.add(sql, rows),
  ])
}

async function endSessions(sql: Sql, calls: readonly Placed<Rest<'endSession'>>[]): Promise<void> {
  const keys = calls.map(({ shard, userId, args: [deviceId] }) => ({ shard, userId, deviceId }))
  await Promise.all([
    accessTokens.remove(sql, keys),
    devices.remove(sql, keys),
    toDevice.remove(sql, keys),
  ])
}

async function endAllSessions(
  sql: Sql,
  calls: readonly Placed<Rest<'endAllSessions'>>[],
): Promise<void> {
  const shards = calls.map(({ shard }) => shard)
  const userIds = calls.map(({ userId }) => userId)
  await Promise.all([
    accessTokens.removeAll(sql, userIds),
    devices.removeAll(sql, shards, userIds),
    toDevice.removeAll(sql, shards, userIds),
  ])
}

async function putAccountData(
  sql: Sql,
  calls: readonly Placed<Rest<'putAccountData'>>[],
): Promise<void> {
  const rows = calls.map(({ shard, userId, position, args: [roomId, type, content] }) => ({
    shard,
    userId,
    position,
    roomId: roomId ?? '',
    type,
    content,
  }))
  await accountData.put(
    sql,
    lastOf(rows, (row) => [row.userId, row.roomId, row.type]),
  )
}

async function forgetRooms(sql: Sql, calls: readonly Placed<Rest<'forgetRoom'>>[]): Promise<void> {
  const rows = calls.map(({ shard, userId, position, args: [roomId, memberEvent] }) => ({
    shard,
    userId,
    position,
    roomId,
    memberEvent,
  }))
  await forgottenRooms.put(
    sql,
    lastOf(rows, (row) => [row.userId, row.roomId]),
  )
}

/** A whole profile, as JSON. Spec: client-server-api/#profiles */
const maxProfileBytes = 65_536

async function putProfileFields(
  sql: Sql,
  calls: readonly Placed<Rest<'putProfileField'>>[],
): Promise<Faults> {
  const userIds = calls.map(({ userId }) => userId)
  const stored = await profiles.list(
    sql,
    userIds,
    calls.map(({ shard }) => shard),
  )
  const known = new Map(userIds.map((userId) => [userId, new Map<string, string>()]))
  for (const row of stored) known.get(row.user_id)!.set(row.name, row.value)

  const faults: Faults = new Map()
  const done = calls.filter(({ userId, args: [name, value] }, index) => {
    const fields = known.get(userId)!
    const before = fields.get(name)
    if (value === null) fields.delete(name)
    else fields.set(name, value)
    if (value === null || profileBytes(fields) <= maxProfileBytes) return true
    if (before === undefined) fields.delete(name)
    else fields.set(name, before)
    const message = `A profile may have ${maxProfileBytes} bytes`
    faults.set(index, new MatrixError(400, 'M_PROFILE_TOO_LARGE', message))
    return false
  })
  const rows = lastOf(
    done.map(({ args: [name, value], ...place }) => ({ ...place, name, value })),
    (row) => [row.userId, row.name],
  )
  await Promise.all([
    profiles.put(
      sql,
      rows.filter((row): row is typeof row & { value: string } => row.value !== null),
    ),
    profiles.remove(
      sql,
      rows.filter((row) => row.value === null),
    ),
  ])
  return faults
}

function profileBytes(fields: ReadonlyMap<string, string>): number {
  let bytes = 2
  for (const [name, value] of fields)
    bytes += Buffer.byteLength(JSON.stringify(name)) + Buffer.byteLength(value) + 2
  return bytes - (fields.size > 0 ? 1 : 0)
}

async function deliverToDevice(
  sql: Sql,
  calls: readonly Placed<[message: ToDevice]>[],
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

/**
 * Takes in updates of device lists. One that cites an update later than any we know tells that some
 * were missed: the list is then stale until it is asked for as a whole.
 *
 * Spec: server-server-api/#device-management
 */
async function updateRemoteDevices(
  sql: Sql,
  calls: readonly Placed<[update: RemoteDevice]>[],
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

/** The last row of each key: one statement may not write a row twice. */
function lastOf<T>(rows: readonly T[], key: (row: T) => readonly string[]): T[] {
  return [...new Map(rows.map((row) => [JSON.stringify(key(row)), row])).values()]
}
