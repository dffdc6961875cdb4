import { MatrixError } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as accessTokens from '#store/user/access-tokens.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as devices from '#store/user/devices.ts'
import * as profiles from '#store/user/profiles.ts'
import * as refreshTokens from '#store/user/refresh-tokens.ts'
import * as toDevice from '#store/user/to-device.ts'
import * as users from '#store/user/users.ts'
import { announceDevices, dropDevices } from './device-lists.ts'
import type { CallsOf, Commit, Results, UserLanded, Writers } from './writer.ts'

export type NewAccount = {
  /** Undefined: no login by password. */
  passwordHash?: string
  admin: boolean
  guest?: boolean
  /** JSON: the policies agreed to. */
  agreed?: string
  createdAt: number
  /** Fields of the profile, as JSON texts. */
  profile?: Readonly<Record<string, string>>
}

export type NewSession = {
  deviceId: string
  /** Only for a device that is new. */
  displayName?: string
  /** SHA-256 of the access token. */
  tokenHash: Uint8Array
  /** Of the refresh token that comes with it. */
  refreshHash?: Uint8Array
  createdAt: number
  expiresAt?: number
  /** When whoever begins the session proved who they are. */
  authenticatedAt?: number
}

/** Accounts, their devices and sessions. */
export type AccountCalls = {
  /** `M_USER_IN_USE` if there is such an account. */
  createUser: (userId: string, account: NewAccount) => UserLanded
  /** Ends what session the device had; makes the device if it is new. 403 if a signing key has its ID. */
  createSession: (userId: string, session: NewSession) => UserLanded
  /** Removes a device, its tokens and what waits for it. */
  endSession: (userId: string, deviceId: string) => UserLanded
  endAllSessions: (userId: string) => UserLanded
}

export const accountWriters: Writers<AccountCalls> = {
  createUser: { write: createUsers, many: false },
  createSession: { write: createSessions, many: false },
  endSession: { write: endSessions, many: false },
  endAllSessions: { write: endAllSessions, many: false },
}

async function createUsers(
  sql: Sql,
  calls: CallsOf<AccountCalls['createUser']>,
): Promise<Results<AccountCalls['createUser']>> {
  const added = await users.add(
    sql,
    calls.map(({ userId, shard, args: [account] }) => ({
      userId,
      shard,
      passwordHash: account.passwordHash ?? null,
      admin: account.admin,
      guest: account.guest ?? false,
      agreed: account.agreed ?? null,
      createdAt: account.createdAt,
    })),
  )
  const made = new Set(added.map((row) => row.user_id))
  const faults: Results<AccountCalls['createUser']> = new Map()
  for (const [index, { userId }] of calls.entries())
    if (!made.has(userId))
      faults.set(index, new MatrixError(400, 'M_USER_IN_USE', 'The user ID is taken'))
  const fields = calls
    .filter(({ userId }) => made.has(userId))
    .flatMap(({ shard, userId, position, args: [{ profile = {} }] }) =>
      Object.entries(profile).map(([name, value]) => ({ shard, userId, name, value, position })),
    )
  if (fields.length > 0) await profiles.put(sql, fields)
  return faults
}

async function createSessions(
  sql: Sql,
  calls: CallsOf<AccountCalls['createSession']>,
  commit: Commit,
): Promise<Results<AccountCalls['createSession']>> {
  const wanted = calls.map(({ shard, userId, position, args: [session] }) => ({
    shard,
    userId,
    position,
    ...session,
    displayName: session.displayName ?? null,
  }))
  const namesakes = await crossSigningKeys.namesakes(sql, wanted)
  const refused = new Set(namesakes.map((row) => row.user_id))
  const faults: Results<AccountCalls['createSession']> = new Map()
  for (const [index, { userId }] of calls.entries())
    if (refused.has(userId)) faults.set(index, isSigningKey())
  const rows = wanted.filter(({ userId }) => !refused.has(userId))
  const [, added] = await Promise.all([
    accessTokens.remove(sql, rows),
    devices.add(sql, rows),
    accessTokens.add(sql, rows),
    refreshTokens.add(sql, rows.filter(hasRefreshToken)),
  ])
  const fresh = new Set(added.map((row) => row.user_id))
  await announceDevices(
    sql,
    rows.filter(({ userId }) => fresh.has(userId)),
    commit,
  )
  return faults
}

/** Spec: client-server-api/#key-and-signature-security */
const isSigningKey = () =>
  new MatrixError(403, 'M_FORBIDDEN', "The device ID is one of the user's signing keys")

const hasRefreshToken = <T extends { refreshHash?: Uint8Array }>(
  row: T,
): row is T & { refreshHash: Uint8Array } => row.refreshHash !== undefined

async function endSessions(
  sql: Sql,
  calls: CallsOf<AccountCalls['endSession']>,
  commit: Commit,
): Promise<void> {
  const keys = calls.map(({ args: [deviceId], ...place }) => ({ ...place, deviceId }))
  await Promise.all([
    accessTokens.remove(sql, keys),
    devices.remove(sql, keys),
    toDevice.remove(sql, keys),
    dropDevices(sql, keys, commit),
  ])
}

async function endAllSessions(
  sql: Sql,
  calls: CallsOf<AccountCalls['endAllSessions']>,
  commit: Commit,
): Promise<void> {
  const shards = calls.map(({ shard }) => shard)
  const userIds = calls.map(({ userId }) => userId)
  const places = new Map(calls.map(({ shard, userId, position }) => [userId, { shard, position }]))
  const gone = (await devices.listAll(sql, shards, userIds)).map(
    ({ user_id: userId, device_id: deviceId }) => ({ userId, deviceId, ...places.get(userId)! }),
  )
  await Promise.all([
    dropDevices(sql, gone, commit),
    accessTokens.removeAll(sql, userIds),
    devices.removeAll(sql, shards, userIds),
    toDevice.removeAll(sql, shards, userIds),
  ])
}
