import { isObject, type JsonObject } from '#core/json.ts'
import { rulesetOf } from '#core/push/ruleset.ts'
import { shardOf } from '#core/shard.ts'
import { blocksInvites, permissionType } from '#engine/read/invite-permission.ts'
import type { Vector } from '#engine/read/vector.ts'
import type { Sql } from '#store/db.ts'
import * as userChanges from '#store/user/read-changes.ts'
import type { Known } from './user-facts.ts'

type Entry = { type: string; content: JsonObject }

export type AccountData = {
  readonly global: readonly Entry[]
  /** By room ID. */
  readonly rooms: ReadonlyMap<string, readonly Entry[]>
  /** Users whose messages are not to be shown. */
  readonly ignored: ReadonlySet<string>
  /** Whether invites are not to be shown. */
  readonly blocksInvites: boolean
}

/** A user's account data that changed between two vectors, and whom they ignore. */
export async function readAccountData(
  sql: Sql,
  userId: string,
  since: Vector | undefined,
  vector: Vector,
  known?: Known,
): Promise<AccountData> {
  const shard = shardOf(userId)
  const low = since?.users[shard] ?? 0
  const high = vector.users[shard]!
  const wishes = known?.facts.wishes.get(userId)
  if (wishes && since && isSame(known, low) && isSame(known, wishes.at))
    return { global: [], rooms: new Map(), ...wishes }
  const global: Entry[] = []
  const rooms = new Map<string, Entry[]>()
  let ignored: ReadonlySet<string> = new Set()
  let blocked = false
  for (const row of await userChanges.accountData(sql, shard, userId, low, high)) {
    const entry = { type: row.type, content: JSON.parse(row.content) as JsonObject }
    if (row.room_id === '' && row.type === 'm.ignored_user_list') ignored = ignoredIn(entry.content)
    if (row.room_id === '' && row.type === permissionType) blocked = blocksInvites(entry.content)
    if (row.position <= low || row.position > high) continue
    if (row.room_id === '') global.push(shown(userId, entry))
    else {
      const list = rooms.get(row.room_id)
      if (list) list.push(entry)
      else rooms.set(row.room_id, [entry])
    }
  }
  // Until a user changes a rule their rules are not stored.
  if (!since && !global.some(({ type }) => type === 'm.push_rules'))
    global.push({ type: 'm.push_rules', content: pushRules(userId) })
  known?.facts.wishes.set(userId, { at: high, ignored, blocksInvites: blocked })
  return { global, rooms, ignored, blocksInvites: blocked }
}

const isSame = (known: Known | undefined, at: number): boolean =>
  known?.news.isSame('account_data', at) === true

/** Rules are stored with the default rules of the day, and shown with those of today. */
const shown = (userId: string, { type, content }: Entry): Entry => ({
  type,
  content: type === 'm.push_rules' ? pushRules(userId, content) : content,
})

const pushRules = (userId: string, stored?: JsonObject): JsonObject => ({
  global: rulesetOf(userId, stored) as unknown as JsonObject,
})

/** Spec: client-server-api/#ignoring-users */
function ignoredIn(content: JsonObject): ReadonlySet<string> {
  const users = content['ignored_users']
  return new Set(isObject(users ?? null) ? Object.keys(users as JsonObject) : [])
}
