import { MatrixError } from '#core/error.ts'
import { isObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'

export const permissionType = 'm.invite_permission_config'

/** Whether who has set this wants no invites. Spec: client-server-api/#invite-permission */
export const blocksInvites = (config: unknown): boolean =>
  isObject(config) && config['default_action'] === 'block'

/**
 * Refuses to invite a user of ours who wants no invites, whoever asks.
 *
 * Spec: client-server-api/#invite-permission
 */
export async function requireWilling(sql: Sql, userId: string): Promise<void> {
  const text = await accountData.get(sql, shardOf(userId), userId, '', permissionType)
  const config: unknown = text === undefined ? undefined : JSON.parse(text)
  if (blocksInvites(config))
    throw new MatrixError(403, 'M_INVITE_BLOCKED', 'The user does not want to be invited')
}
