import { MatrixError } from '#core/error.ts'
import { isObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'

/**
 * Refuses to invite a user of ours who wants no invites, whoever asks.
 *
 * Spec: client-server-api/#invite-permission
 */
export async function requireWilling(sql: Sql, userId: string): Promise<void> {
  const type = 'm.invite_permission_config'
  const text = await accountData.get(sql, shardOf(userId), userId, '', type)
  const config: unknown = text === undefined ? undefined : JSON.parse(text)
  if (isObject(config) && config['default_action'] === 'block')
    throw new MatrixError(403, 'M_INVITE_BLOCKED', 'The user does not want to be invited')
}
