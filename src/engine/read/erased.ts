import type { Sql } from '#store/db.ts'
import * as users from '#store/user/users.ts'

/**
 * The users who wanted to be erased, kept in memory: they are few, and every event that is shown has a
 * sender. Whoever was not in the room when they sent something is shown a redacted copy.
 *
 * Spec: client-server-api/#post_matrixclientv3accountdeactivate
 */
export class ErasedUsers {
  readonly #sql: Sql
  #ids: ReadonlySet<string> = new Set()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Looks who they are: at the start, and after each that is added. */
  async refresh(): Promise<void> {
    this.#ids = new Set((await users.erased(this.#sql)).map((row) => row.user_id))
  }

  get size(): number {
    return this.#ids.size
  }

  has(userId: string): boolean {
    return this.#ids.has(userId)
  }
}
