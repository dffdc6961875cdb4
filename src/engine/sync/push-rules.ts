import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { Json } from '#core/json.ts'
import { type PushRuleset, defaultRules, ruleKinds } from '#core/push/default-rules.ts'
import { type CompiledRules, compileRules } from '#core/push/evaluate.ts'
import { rulesetOf } from '#core/push/ruleset.ts'
import { shardOf } from '#core/shard.ts'
import type { News } from '#engine/read/news.ts'
import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'
import * as profiles from '#store/user/profiles.ts'

export type OwnRules = {
  /** Where they were stored; 0 if they are the default ones. */
  readonly position: number
  /** Undefined: whether they notify and highlight is as the default rules say. */
  readonly compiled: CompiledRules | undefined
  /** What the user is called, if a rule asks for it. */
  readonly displayName: string | undefined
}

type Compiled = Pick<OwnRules, 'position' | 'compiled'> & { at: number; asksName: boolean }

/** The rules of users, made ready once. */
export class PushRules {
  readonly #compiled = new LRUCache<string, Compiled>(atMost(10_000))

  /** Those of a user at a position of their stream. */
  async of(sql: Sql, userId: string, at: number, news?: News): Promise<OwnRules> {
    const known = this.#compiled.get(userId)
    const rules =
      known && news?.isSame('account_data', known.at)
        ? known
        : await this.#read(sql, userId, at, known)
    const { position, compiled, asksName } = rules
    const displayName = asksName ? await nameOf(sql, shardOf(userId), userId) : undefined
    return { position, compiled, displayName }
  }

  async #read(sql: Sql, userId: string, at: number, known?: Compiled): Promise<Compiled> {
    const place = { shard: shardOf(userId), userId, type: 'm.push_rules' }
    const [row] = await accountData.newer(sql, place, known?.position ?? 0)
    const rules = !row
      ? { position: 0, compiled: undefined, asksName: false }
      : row.content === null
        ? known!
        : compile(userId, row.position, row.content)
    const found = { ...rules, at }
    this.#compiled.set(userId, found)
    return found
  }
}

function compile(userId: string, position: number, content: string): Omit<Compiled, 'at'> {
  const rules = rulesetOf(userId, JSON.parse(content) as Json)
  if (outcomes(rules) === outcomes(defaultRules(userId)))
    return { position, compiled: undefined, asksName: false }
  const asksName = content.includes('"contains_display_name"')
  return { position, compiled: compileRules(rules), asksName }
}

/** What counts of rules: sounds do not. */
const outcomes = (rules: PushRuleset): string =>
  JSON.stringify(
    ruleKinds.map((kind) =>
      rules[kind].map(({ rule_id: id, enabled, actions }) => [
        id,
        enabled,
        actions.filter((action) => typeof action === 'string' || action['set_tweak'] !== 'sound'),
      ]),
    ),
  )

/** Not spec: the name of the profile, where rooms may have another. */
async function nameOf(sql: Sql, shard: number, userId: string): Promise<string | undefined> {
  const rows = await profiles.list(sql, [userId], [shard])
  const value = rows.find(({ name }) => name === 'displayname')?.value
  const name: unknown = value === undefined ? undefined : JSON.parse(value)
  return typeof name === 'string' ? name : undefined
}
