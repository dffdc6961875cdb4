import { isObject, type JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'

/** Spec: client-server-api/#ignoring-users */
export function ignoredIn(content: JsonObject): ReadonlySet<string> {
  const users = content['ignored_users']
  return new Set(isObject(users) ? Object.keys(users) : [])
}

/** Whom a user ignores at the moment. */
export async function ignoredBy(sql: Sql, userId: string): Promise<ReadonlySet<string>> {
  const text = await accountData.get(sql, shardOf(userId), userId, '', 'm.ignored_user_list')
  return text === undefined ? new Set() : ignoredIn(JSON.parse(text) as JsonObject)
}
