import type { Json } from '#core/json.ts'
import type { PushRuleset } from '#core/push/default-rules.ts'
import { rulesetOf } from '#core/push/ruleset.ts'
import { shardOf } from '#core/shard.ts'
import * as accountData from '#store/user/account-data.ts'
import type { Context } from '#src/context.ts'

/** The rules of a user by what is stored of them, JSON text. */
export const rulesOf = (userId: string, stored: string | undefined): PushRuleset =>
  rulesetOf(userId, stored === undefined ? undefined : (JSON.parse(stored) as Json))

/** The rules of a user. */
export async function readRules({ sql }: Context, userId: string): Promise<PushRuleset> {
  return rulesOf(userId, await accountData.get(sql, shardOf(userId), userId, '', 'm.push_rules'))
}
