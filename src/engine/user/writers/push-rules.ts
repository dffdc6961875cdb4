import { MatrixError } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import type { PushRuleset } from '#core/push/default-rules.ts'
import { type RuleEdit, editRules, rulesetOf } from '#core/push/ruleset.ts'
import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'
import { type CallsOf, type Results, type UserLanded, type Writers } from './writer.ts'

/** Push rules: they are kept as the account data `m.push_rules`. */
export type PushRuleCalls = {
  /** Changes one rule; answers what is wrong with the change, if anything is. */
  editPushRule: (userId: string, edit: RuleEdit) => UserLanded
}

export const pushRuleWriters: Writers<PushRuleCalls> = {
  editPushRule: { write: editPushRules, many: true },
}

const place = { roomId: '', type: 'm.push_rules' }

async function editPushRules(
  sql: Sql,
  calls: CallsOf<PushRuleCalls['editPushRule']>,
): Promise<Results<PushRuleCalls['editPushRule']>> {
  const userIds = [...new Set(calls.map(({ userId }) => userId))]
  const shards = [...new Set(calls.map(({ shard }) => shard))]
  const stored = new Map<string, PushRuleset>()
  for (const row of await accountData.listOfType(sql, shards, userIds, place.type))
    stored.set(row.user_id, rulesetOf(row.user_id, JSON.parse(row.content) as JsonObject))
  const faults: Results<PushRuleCalls['editPushRule']> = new Map()
  const rows = new Map<string, accountData.Entry>()
  for (const [index, { shard, userId, position, args }] of calls.entries()) {
    const before = stored.get(userId) ?? rulesetOf(userId, undefined)
    try {
      const global = editRules(before, args[0])
      stored.set(userId, global)
      const content = JSON.stringify({ global })
      rows.set(userId, { shard, userId, ...place, content, position })
    } catch (error) {
      if (!(error instanceof MatrixError)) throw error
      faults.set(index, error)
    }
  }
  await accountData.put(sql, [...rows.values()])
  return faults
}
