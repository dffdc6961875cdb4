import { MatrixError, notFound } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as pushQueue from '#store/push/queue.ts'
import * as accessTokens from '#store/user/access-tokens.ts'
import * as accountData from '#store/user/account-data.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as departures from '#store/user/departures.ts'
import * as devices from '#store/user/devices.ts'
import * as keyBackups from '#store/user/key-backups.ts'
import * as profiles from '#store/user/profiles.ts'
import * as pushers from '#store/user/pushers.ts'
import * as threepids from '#store/user/threepids.ts'
import * as toDevice from '#store/user/to-device.ts'
import * as users from '#store/user/users.ts'
import { announceDevices, dropDevices } from './device-lists.ts'
import type { CallsOf, Commit, Placed, Results, UserLanded, Writers } from './writer.ts'

export type NewPassword = {
  /** Null: no login by password any more. */
  passwordHash: string | null
  /** Ends the sessions of all devices… */
  logOut: boolean
  /** … but this one. */
  except?: string
}

export type Threepid = { medium: string; address: string; validatedAt: number; addedAt: number }

/** What becomes of accounts and their devices. */
export type AccountChangeCalls = {
  setPassword: (userId: string, password: NewPassword) => UserLanded
  /** `M_NOT_FOUND` if there is no such account. */
  changeAccount: (userId: string, change: users.Change) => UserLanded
  /** Takes from an account whatever it can be used by; its rooms are left later. */
  deactivate: (userId: string, how: { erase: boolean }) => UserLanded
  /** Removes devices with their sessions; those that are not there do not matter. */
  removeDevices: (userId: string, deviceIds: readonly string[]) => UserLanded
  /** `M_NOT_FOUND` if there is no such device. */
  renameDevice: (userId: string, deviceId: string, displayName: string) => UserLanded
  /** Makes a device without a session. */
  addDevice: (
    userId: string,
    device: { deviceId: string; displayName: string | null; createdAt: number },
  ) => UserLanded & { isNew?: boolean }
  /** `M_THREEPID_IN_USE` if it is somebody else's. */
  addThreepid: (userId: string, threepid: Threepid) => UserLanded
  removeThreepid: (
    userId: string,
    medium: string,
    address: string,
  ) => UserLanded & { removed?: boolean }
}

export const accountChangeWriters: Writers<AccountChangeCalls> = {
  setPassword: { write: setPasswords, many: false },
  changeAccount: { write: changeAccounts, many: false },
  deactivate: { write: deactivate, many: false },
  removeDevices: { write: removeDevices, many: false },
  renameDevice: { write: renameDevices, many: false },
  addDevice: { write: addDevices, many: false },
  addThreepid: { write: addThreepids, many: false },
  removeThreepid: { write: removeThreepids, many: false },
}

async function setPasswords(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['setPassword']>,
  commit: Commit,
): Promise<Results<AccountChangeCalls['setPassword']>> {
  const endings = calls.filter(({ args: [{ logOut }] }) => logOut)
  const [faults] = await Promise.all([
    changed(
      sql,
      calls.map(({ userId, args: [{ passwordHash }] }) => ({ userId, passwordHash })),
    ),
    dropAll(sql, endings, commit, ({ args: [{ except }] }) => except),
  ])
  return faults
}

async function changeAccounts(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['changeAccount']>,
): Promise<Results<AccountChangeCalls['changeAccount']>> {
  return changed(
    sql,
    calls.map(({ userId, args: [change] }) => ({ userId, ...change })),
  )
}

/** Changes accounts; answers a fault for each that is not there. */
async function changed(
  sql: Sql,
  rows: readonly ({ userId: string } & users.Change)[],
): Promise<Map<number, MatrixError>> {
  const there = new Set((await users.change(sql, rows)).map((row) => row.user_id))
  const faults = new Map<number, MatrixError>()
  for (const [index, { userId }] of rows.entries())
    if (!there.has(userId)) faults.set(index, notFound('There is no such user'))
  return faults
}

async function deactivate(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['deactivate']>,
  commit: Commit,
): Promise<Results<AccountChangeCalls['deactivate']>> {
  const userIds = calls.map(({ userId }) => userId)
  const shards = calls.map(({ shard }) => shard)
  const erasing = calls.filter(({ args: [{ erase }] }) => erase)
  const erased = [erasing.map(({ userId }) => userId), erasing.map(({ shard }) => shard)] as const
  const gone = { deactivated: true, passwordHash: null, admin: false }
  const [faults] = await Promise.all([
    changed(
      sql,
      calls.map(({ userId, args: [{ erase }] }) => ({
        ...gone,
        userId,
        ...(erase && { erased: true }),
      })),
    ),
    dropAll(sql, calls, commit, () => undefined),
    crossSigningKeys.remove(sql, userIds, shards),
    keyBackups.endAll(sql, userIds, shards),
    threepids.removeAll(sql, userIds),
    pushers.removeAll(sql, userIds).then((gone) => pushQueue.dropOf(sql, gone)),
    briefTokens.removeAll(sql, userIds),
    departures.add(sql, calls),
    accountData.removeAll(sql, ...erased),
    profiles.removeAll(sql, ...erased),
  ])
  return faults
}

/** Removes all devices of some users, but one. */
async function dropAll<A extends unknown[]>(
  sql: Sql,
  calls: readonly Placed<A>[],
  commit: Commit,
  exceptOf: (call: Placed<A>) => string | undefined,
): Promise<void> {
  if (calls.length === 0) return
  const byUser = new Map(calls.map((call) => [call.userId, call]))
  const all = await devices.listAll(
    sql,
    calls.map(({ shard }) => shard),
    [...byUser.keys()],
  )
  const going = all.flatMap(({ user_id: userId, device_id: deviceId }) => {
    const call = byUser.get(userId)!
    const { shard, position } = call
    return deviceId === exceptOf(call) ? [] : [{ shard, userId, position, deviceId }]
  })
  await drop(sql, going, commit)
}

async function drop(
  sql: Sql,
  going: readonly { shard: number; userId: string; position: number; deviceId: string }[],
  commit: Commit,
): Promise<void> {
  if (going.length === 0) return
  await Promise.all([
    dropDevices(sql, going, commit),
    accessTokens.remove(sql, going),
    devices.remove(sql, going),
    toDevice.remove(sql, going),
  ])
}

async function removeDevices(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['removeDevices']>,
  commit: Commit,
): Promise<void> {
  const named = calls.map((call) => ({ ...call, ids: new Set(call.args[0]) }))
  const byUser = new Map(named.map((call) => [call.userId, call]))
  const there = await devices.listAll(
    sql,
    calls.map(({ shard }) => shard),
    [...byUser.keys()],
  )
  const going = there.flatMap(({ user_id: userId, device_id: deviceId }) => {
    const { shard, position, ids } = byUser.get(userId)!
    return ids.has(deviceId) ? [{ shard, userId, position, deviceId }] : []
  })
  await drop(sql, going, commit)
}

async function renameDevices(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['renameDevice']>,
  commit: Commit,
): Promise<Results<AccountChangeCalls['renameDevice']>> {
  const rows = calls.map(({ args: [deviceId, displayName], ...place }) => ({
    ...place,
    deviceId,
    displayName,
  }))
  const renamed = new Set((await devices.rename(sql, rows)).map((row) => row.user_id))
  await announceDevices(
    sql,
    rows.filter(({ userId }) => renamed.has(userId)),
    commit,
  )
  const faults: Results<AccountChangeCalls['renameDevice']> = new Map()
  for (const [index, { userId }] of calls.entries())
    if (!renamed.has(userId)) faults.set(index, notFound('There is no such device'))
  return faults
}

async function addDevices(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['addDevice']>,
  commit: Commit,
): Promise<Results<AccountChangeCalls['addDevice']>> {
  const rows = calls.map(({ args: [device], ...place }) => ({ ...place, ...device }))
  const made = new Set((await devices.add(sql, rows)).map((row) => row.user_id))
  await announceDevices(
    sql,
    rows.filter(({ userId }) => made.has(userId)),
    commit,
  )
  return new Map(calls.map(({ userId }, index) => [index, { isNew: made.has(userId) }]))
}

async function addThreepids(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['addThreepid']>,
): Promise<Results<AccountChangeCalls['addThreepid']>> {
  // Of two users who add one address at once the first has it.
  const first = new Map<string, number>()
  for (const [index, { args }] of calls.entries()) {
    const key = keyOf(args[0])
    if (!first.has(key)) first.set(key, index)
  }
  const rows = [...first.values()].map((index) => {
    const { userId, args } = calls[index]!
    return { userId, ...args[0] }
  })
  const theirs = new Set(
    (await threepids.add(sql, rows)).map((row) => `${row.user_id} ${keyOf(row)}`),
  )
  const faults: Results<AccountChangeCalls['addThreepid']> = new Map()
  for (const [index, { userId, args }] of calls.entries())
    if (!theirs.has(`${userId} ${keyOf(args[0])}`))
      faults.set(index, new MatrixError(400, 'M_THREEPID_IN_USE', 'The address is in use'))
  return faults
}

const keyOf = ({ medium, address }: { medium: string; address: string }) => `${medium} ${address}`

async function removeThreepids(
  sql: Sql,
  calls: CallsOf<AccountChangeCalls['removeThreepid']>,
): Promise<Results<AccountChangeCalls['removeThreepid']>> {
  const keys = calls.map(({ userId, args: [medium, address] }) => ({ userId, medium, address }))
  const gone = new Set((await threepids.remove(sql, keys)).map((row) => row.user_id))
  // Nobody is written to at an address that is theirs no more.
  const letters = calls
    .filter(({ args: [medium] }) => medium === 'email')
    .map(({ shard, userId, args: [, pushkey] }) => ({ shard, userId, appId: 'm.email', pushkey }))
  await pushQueue.dropOf(sql, await pushers.remove(sql, letters))
  return new Map(calls.map(({ userId }, index) => [index, { removed: gone.has(userId) }]))
}
