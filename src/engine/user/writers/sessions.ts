import { unknownToken } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as accessTokens from '#store/user/access-tokens.ts'
import * as refreshTokens from '#store/user/refresh-tokens.ts'
import type { CallsOf, Results, UserLanded, Writers } from './writer.ts'

export type Refresh = {
  deviceId: string
  /** SHA-256 of the refresh token that is used, and of what it is exchanged for. */
  usedHash: Uint8Array
  tokenHash: Uint8Array
  refreshHash: Uint8Array
  createdAt: number
  expiresAt: number
  authenticatedAt?: number
}

/** Sessions that go on under other tokens. */
export type SessionCalls = {
  /**
   * Gives out new tokens for a refresh token, which stays good until one of them is used.
   * `M_UNKNOWN_TOKEN` if that has happened.
   */
  refreshSession: (userId: string, refresh: Refresh) => UserLanded
  /** An access token is used for the first time: what it replaces ends. */
  settleSession: (userId: string, tokenHash: Uint8Array) => UserLanded
}

export const sessionWriters: Writers<SessionCalls> = {
  refreshSession: { write: refreshSessions, many: false },
  settleSession: { write: settleSessions, many: false },
}

async function refreshSessions(
  sql: Sql,
  calls: CallsOf<SessionCalls['refreshSession']>,
): Promise<Results<SessionCalls['refreshSession']>> {
  const rows = calls.map(({ args: [refresh], ...place }) => ({ ...place, ...refresh }))
  const there = await refreshTokens.there(
    sql,
    rows.map((row) => row.usedHash),
  )
  const faults: Results<SessionCalls['refreshSession']> = new Map()
  const good = rows.filter(({ usedHash }, index) => {
    const isThere = there.has(Buffer.from(usedHash).toString('hex'))
    if (!isThere) faults.set(index, unknownToken())
    return isThere
  })
  if (good.length === 0) return faults
  const used = good.map((row) => row.usedHash)
  await Promise.all([
    refreshTokens.settle(sql, used),
    refreshTokens.dropChildren(sql, used),
    refreshTokens.add(
      sql,
      good.map((row) => ({ ...row, parentHash: row.usedHash })),
    ),
    accessTokens.add(sql, good),
  ])
  return faults
}

async function settleSessions(
  sql: Sql,
  calls: CallsOf<SessionCalls['settleSession']>,
): Promise<void> {
  await refreshTokens.settleByAccess(
    sql,
    calls.map(({ args: [hash] }) => hash),
  )
}
