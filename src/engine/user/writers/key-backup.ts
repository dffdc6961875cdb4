import { MatrixError, invalidParam, notFound } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as backedUpKeys from '#store/user/backed-up-keys.ts'
import * as keyBackups from '#store/user/key-backups.ts'
import type { CallsOf, Placed, Results, UserLanded, Writers } from './writer.ts'

export type BackupInfo = { algorithm: string; /** JSON text. */ authData: string }

/** `session_data` is JSON text. */
export type SessionKey = {
  roomId: string
  sessionId: string
  isVerified: boolean
  firstMessageIndex: number
  forwardedCount: number
  sessionData: string
}

type Tally = { etag: string; count: number }

/** Server-side key backups. A version that there is not, or no more, is 404. */
export type KeyBackupCalls = {
  createBackup: (userId: string, info: BackupInfo) => UserLanded & { version: string }
  /** 400 if the algorithm is another one. */
  updateBackup: (userId: string, version: number, info: BackupInfo) => UserLanded
  /** One that was deleted before is deleted. */
  deleteBackup: (userId: string, version: number) => UserLanded
  /** Into the newest version only; 403 names it. */
  putRoomKeys: (userId: string, version: number, keys: SessionKey[]) => UserLanded & Tally
  deleteRoomKeys: (
    userId: string,
    version: number,
    roomId: string | null,
    sessionId: string | null,
  ) => UserLanded & Tally
}

export const keyBackupWriters: Writers<KeyBackupCalls> = {
  createBackup: { write: createBackups, many: false },
  updateBackup: { write: updateBackups, many: false },
  deleteBackup: { write: deleteBackups, many: false },
  putRoomKeys: { write: putRoomKeys, many: false },
  deleteRoomKeys: { write: deleteRoomKeys, many: false },
}

const unknownBackup = () => notFound('Unknown backup version')

/** The backups of each caller, the newest first. */
async function backupsOf(
  sql: Sql,
  calls: readonly Placed[],
): Promise<Map<string, keyBackups.Backup[]>> {
  const rows = await keyBackups.list(
    sql,
    calls.map(({ userId }) => userId),
    calls.map(({ shard }) => shard),
  )
  const found = new Map<string, keyBackups.Backup[]>(calls.map(({ userId }) => [userId, []]))
  for (const row of rows) found.get(row.user_id)!.push(row)
  return found
}

async function createBackups(
  sql: Sql,
  calls: CallsOf<KeyBackupCalls['createBackup']>,
): Promise<Results<KeyBackupCalls['createBackup']>> {
  const backups = await backupsOf(sql, calls)
  const rows = calls.map(({ shard, userId, args: [info] }) => ({
    shard,
    userId,
    version: (backups.get(userId)![0]?.version ?? 0) + 1,
    ...info,
  }))
  await keyBackups.add(sql, rows)
  return new Map(rows.map(({ version }, index) => [index, { version: String(version) }]))
}

async function updateBackups(
  sql: Sql,
  calls: CallsOf<KeyBackupCalls['updateBackup']>,
): Promise<Results<KeyBackupCalls['updateBackup']>> {
  const backups = await backupsOf(sql, calls)
  const faults: Results<KeyBackupCalls['updateBackup']> = new Map()
  const good = calls.filter(({ userId, args: [version, { algorithm }] }, index) => {
    const backup = backups.get(userId)!.find((each) => each.version === version && !each.deleted)
    if (!backup) faults.set(index, unknownBackup())
    else if (backup.algorithm !== algorithm)
      faults.set(index, invalidParam('Algorithm does not match'))
    return !faults.has(index)
  })
  if (good.length > 0)
    await keyBackups.update(
      sql,
      good.map(({ shard, userId, args: [version, { authData }] }) => ({
        shard,
        userId,
        version,
        authData,
      })),
    )
  return faults
}

async function deleteBackups(
  sql: Sql,
  calls: CallsOf<KeyBackupCalls['deleteBackup']>,
): Promise<Results<KeyBackupCalls['deleteBackup']>> {
  const backups = await backupsOf(sql, calls)
  const faults: Results<KeyBackupCalls['deleteBackup']> = new Map()
  const good = calls.filter(({ userId, args: [version] }, index) => {
    const known = backups.get(userId)!.some((each) => each.version === version)
    if (!known) faults.set(index, unknownBackup())
    return known
  })
  if (good.length > 0)
    await keyBackups.end(
      sql,
      good.map(({ shard, userId, args: [version] }) => ({ shard, userId, version })),
    )
  return faults
}

async function putRoomKeys(
  sql: Sql,
  calls: CallsOf<KeyBackupCalls['putRoomKeys']>,
): Promise<Results<KeyBackupCalls['putRoomKeys']>> {
  const backups = await backupsOf(sql, calls)
  const results: Results<KeyBackupCalls['putRoomKeys']> = new Map()
  const good: { backup: keyBackups.Backup; index: number; shard: number; userId: string }[] = []
  const rows: backedUpKeys.BackedUpKey[] = []
  for (const [index, { shard, userId, args }] of calls.entries()) {
    const [version, keys] = args
    const current = backups.get(userId)!.find((each) => !each.deleted)
    if (current?.version !== version) {
      results.set(index, current ? wrongVersion(current.version) : unknownBackup())
      continue
    }
    good.push({ backup: current, index, shard, userId })
    for (const key of keys) rows.push({ shard, userId, version, ...key })
  }
  const changed = rows.length > 0 ? await backedUpKeys.put(sql, rows) : []
  const tallies = good.map(({ backup, index, shard, userId }) => {
    const own = changed.filter((row) => row.user_id === userId)
    const count = backup.key_count + own.filter((row) => row.inserted).length
    const etag = backup.etag + own.length
    results.set(index, { etag: String(etag), count })
    return { shard, userId, version: backup.version, etag, count }
  })
  if (tallies.length > 0) await keyBackups.tally(sql, tallies)
  return results
}

const wrongVersion = (current: number) =>
  new MatrixError(403, 'M_WRONG_ROOM_KEYS_VERSION', 'Wrong backup version.', {
    current_version: String(current),
  })

async function deleteRoomKeys(
  sql: Sql,
  calls: CallsOf<KeyBackupCalls['deleteRoomKeys']>,
): Promise<Results<KeyBackupCalls['deleteRoomKeys']>> {
  const backups = await backupsOf(sql, calls)
  const results: Results<KeyBackupCalls['deleteRoomKeys']> = new Map()
  const tallies = await Promise.all(
    calls.map(async ({ shard, userId, args: [version, roomId, sessionId] }, index) => {
      const backup = backups.get(userId)!.find((each) => each.version === version && !each.deleted)
      if (!backup) {
        results.set(index, unknownBackup())
        return []
      }
      const removed = await backedUpKeys.remove(sql, {
        shard,
        userId,
        version,
        roomId: roomId ?? undefined,
        sessionId: sessionId ?? undefined,
      })
      const etag = backup.etag + (removed > 0 ? 1 : 0)
      const count = backup.key_count - removed
      results.set(index, { etag: String(etag), count })
      return [{ shard, userId, version, etag, count }]
    }),
  )
  await keyBackups.tally(sql, tallies.flat())
  return results
}
