import { notFound } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as profiles from '#store/user/profiles.ts'
import * as roomAliases from '#store/user/room-aliases.ts'
import * as users from '#store/user/users.ts'
import { requireWilling } from './invite-permission.ts'

/** The profile of a local user, or one field of it. */
export async function localProfile(
  sql: Sql,
  userId: string,
  field: string | undefined,
): Promise<JsonObject> {
  await requireAccount(sql, userId)
  const rows = await profiles.list(sql, [userId], [shardOf(userId)])
  const wanted = field === undefined ? rows : rows.filter(({ name }) => name === field)
  const entries = wanted.map(({ name, value }) => [name, JSON.parse(value) as JsonObject])
  return Object.fromEntries(entries) as JsonObject
}

/** The room behind a local alias. */
export async function localAlias(sql: Sql, alias: string): Promise<string> {
  const known = await roomAliases.get(sql, alias)
  if (!known) throw notFound('There is no such alias')
  return known.room_id
}

/** A local user who may be invited by another server. */
export async function requireInvitable(sql: Sql, userId: string): Promise<void> {
  await Promise.all([requireAccount(sql, userId), requireWilling(sql, userId)])
}

async function requireAccount(sql: Sql, userId: string): Promise<void> {
  const account = await users.get(sql, userId)
  if (!account || account.deactivated) throw notFound('There is no such user')
}
