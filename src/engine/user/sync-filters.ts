import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { invalidParam } from '#core/error.ts'
import { type Filter, parseFilter } from '#core/filter.ts'
import type { Sql } from '#store/db.ts'
import * as filters from '#store/user/filters.ts'

/** Characters of the texts whose filters are kept, and filters that are kept by their users' IDs. */
const maxChars = 4_000_000
const maxNamed = 50_000

/**
 * The filters of /sync: read once, and then the same object for all who ask for the same. Thousands of
 * clients wait with a filter in hand, and nearly all of them have one of a few.
 */
export class SyncFilters {
  readonly #sql: Sql
  readonly #byText = new LRUCache<string, Filter>({
    maxSize: maxChars,
    sizeCalculation: (_, text) => text.length + 100,
  })
  /** By user and ID. What an ID stands for never changes. */
  readonly #named = new LRUCache<string, Filter>(atMost(maxNamed))

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** A filter by its ID, or as JSON: then it begins with a brace. */
  of(userId: string, text = ''): Filter | Promise<Filter> {
    if (text === '') return this.#read('{}')
    if (text.startsWith('{')) return this.#read(text)
    return this.#named.get(`${userId} ${text}`) ?? this.#find(userId, text)
  }

  async #find(userId: string, filterId: string): Promise<Filter> {
    const text = filterId.includes('\0')
      ? undefined
      : await filters.get(this.#sql, userId, filterId)
    if (text === undefined) throw invalidParam(`There is no filter ${filterId}`)
    const filter = this.#read(text)
    this.#named.set(`${userId} ${filterId}`, filter)
    return filter
  }

  #read(text: string): Filter {
    const known = this.#byText.get(text)
    if (known) return known
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      throw invalidParam("'filter' begins like JSON, and is none")
    }
    const filter = parseFilter(json)
    if (typeof filter === 'string') throw invalidParam(`'filter': ${filter}`)
    this.#byText.set(text, filter)
    return filter
  }
}
