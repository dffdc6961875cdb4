import { LRUCache } from 'lru-cache'
import { isObject, type Json } from '#core/json.ts'
import { defaultRules } from '#core/push/default-rules.ts'
import { type CompiledRules, compileRules } from '#core/push/evaluate.ts'
import { rulesetOf } from '#core/push/ruleset.ts'
import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as follow from '#store/push/follow.ts'

/** What one user wants to hear of. */
export type Wish = {
  /** Undefined: the default rules. */
  rules: CompiledRules | undefined
  /** Whether a rule asks what the user is called. */
  asksName: boolean
  ignored: ReadonlySet<string>
}

type Kept = Wish & {
  /** The newest row that was read. */
  position: number
  /** How far the user's shard was when it was looked for. */
  lookedAt: number
}

const nobody: ReadonlySet<string> = new Set()
const maxKept = 100_000
/** Rules that differ from the default ones take room: some of them are read again instead. */
const maxSize = 1_000_000

/** The push rules of many users, and whom they ignore: one statement for all whose shards have news. */
export class UserWishes {
  readonly #usersAt: (shard: number) => number
  readonly #kept = new LRUCache<string, Kept>({
    maxSize,
    // The first part bounds how many there are: with `max`, room for all would be taken at once.
    sizeCalculation: ({ rules, ignored }) =>
      maxSize / maxKept + (rules?.length ?? 0) + ignored.size,
    // One alone that is larger than all is read each time.
    maxEntrySize: maxSize / 10,
  })

  constructor(usersAt: (shard: number) => number) {
    this.#usersAt = usersAt
  }

  async of(sql: Sql, userIds: Iterable<string>): Promise<ReadonlyMap<string, Wish>> {
    const found = new Map<string, Kept>()
    const wanted: { shard: number; userId: string; known: number }[] = []
    for (const userId of new Set(userIds)) {
      const shard = shardOf(userId)
      const lookedAt = this.#usersAt(shard)
      const kept = this.#kept.get(userId)
      if (!kept || lookedAt > kept.lookedAt)
        wanted.push({ shard, userId, known: kept?.position ?? 0 })
      const before = kept ?? { rules: undefined, asksName: false, ignored: nobody, position: 0 }
      found.set(userId, { ...before, lookedAt })
    }
    if (wanted.length > 0)
      for (const row of await follow.wishes(sql, wanted)) takeIn(found.get(row.user_id)!, row)
    for (const { userId } of wanted) this.#kept.set(userId, found.get(userId)!)
    return found
  }
}

function takeIn(kept: Kept, { user_id: userId, type, position, content }: follow.Wishes): void {
  kept.position = Math.max(kept.position, position)
  const json = JSON.parse(content) as Json
  if (type === 'm.push_rules') {
    const rules = rulesetOf(userId, json)
    const isDefault = JSON.stringify(rules) === JSON.stringify(defaultRules(userId))
    kept.rules = isDefault ? undefined : compileRules(rules)
    kept.asksName = content.includes('"contains_display_name"')
  } else {
    const users = isObject(json) ? json['ignored_users'] : undefined
    kept.ignored = isObject(users) ? new Set(Object.keys(users)) : nobody
  }
}
