import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Sql } from '#store/db.ts'
import * as accessTokens from '#store/user/access-tokens.ts'

/** Who calls: a user on one of their devices. */
export type Session = {
  readonly userId: string
  readonly deviceId: string
  /** An administrator of this server. */
  readonly admin: boolean
}

/** Only a token's hash is stored: who reads the database cannot log in. */
export const hashToken = (token: string): Uint8Array => createHash('sha256').update(token).digest()

/**
 * Finds the session of a token; those in use are kept in memory. Whoever ends sessions must `forget`
 * them here after the commit.
 */
export class AccessTokens {
  readonly #sql: Sql
  readonly #known: LRUCache<string, Session>
  // A look-up that began before a session ended must not bring it back.
  #endings = 0

  constructor(sql: Sql, max = 50_000) {
    this.#sql = sql
    this.#known = new LRUCache({ max })
  }

  find(token: string): Session | Promise<Session | undefined> {
    return this.#known.get(token) ?? this.#read(token)
  }

  async #read(token: string): Promise<Session | undefined> {
    const endings = this.#endings
    const session = await accessTokens.find(this.#sql, hashToken(token))
    if (session && endings === this.#endings) this.#known.set(token, session)
    return session
  }

  /** Forgets the sessions of a user, or only those of one device. */
  forget(userId: string, deviceId?: string): void {
    this.#endings++
    for (const [token, session] of this.#known.entries())
      if (session.userId === userId && (deviceId === undefined || session.deviceId === deviceId))
        this.#known.delete(token)
  }
}
