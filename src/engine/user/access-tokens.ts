import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { Appservice } from '#core/appservice.ts'
import { shardOf } from '#core/shard.ts'
import { AppserviceSessions } from '#engine/user/appservice-sessions.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as accessTokens from '#store/user/access-tokens.ts'
import * as devices from '#store/user/devices.ts'

/** Who calls: a user on one of their devices, or an application service that acts as one of its users. */
export type Session = {
  readonly userId: string
  /** Undefined: an application service acts as the user, on none of their devices. */
  readonly deviceId: string | undefined
  /** An administrator of this server. */
  readonly admin: boolean
  /** Who acts as the user, by its own token. */
  readonly appservice?: Appservice
  /** May do little; see `admits` of an operation. */
  readonly guest?: true
  readonly locked?: true
  readonly suspended?: true
  /** Messages that they may send, where that is not what everybody may; none a second: no limit. */
  readonly ownLimit?: Readonly<{ perSecond: number; burst: number }>
}

/** A session that began with a login. */
export type OwnSession = Session & {
  readonly deviceId: string
  readonly appservice?: never
  /** When the token is good for nothing any more. */
  readonly expiresAt?: number
}

export type AccessTokensOptions = {
  /** Sessions that are kept in memory. */
  max?: number
  /** Told when it cannot be noted that devices were seen. */
  onFault?: (error: unknown) => void
  /** Ends what a token replaces at its first use; without them nothing is replaced. */
  users?: Users
}

/** Only a token's hash is stored: who reads the database cannot log in. */
export const hashToken = (token: string): Uint8Array => createHash('sha256').update(token).digest()

/** How often it is noted that a device is in use, and how long the notes are collected. */
const sightEveryMs = 60_000
const collectMs = 5_000
const maxCollected = 10_000

/**
 * Finds the session of a token; those in use are kept in memory. Whoever ends sessions must `forget`
 * them here after the commit.
 */
export class AccessTokens {
  /** Of application services, which have one token for all of their users. */
  readonly acting: AppserviceSessions
  readonly #sql: Sql
  readonly #known: LRUCache<string, OwnSession>
  readonly #onFault: (error: unknown) => void
  readonly #users: Users | undefined
  // A look-up that began before a session ended must not bring it back.
  #endings = 0
  readonly #lastSeen = new WeakMap<Session, number>()
  #sightings: devices.Sighting[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  /** What is being written. */
  #written: Promise<void> = Promise.resolve()

  constructor(sql: Sql, { max = 50_000, onFault = () => {}, users }: AccessTokensOptions = {}) {
    this.#sql = sql
    this.#known = new LRUCache(atMost(max))
    this.acting = new AppserviceSessions(sql, max)
    this.#onFault = onFault
    this.#users = users
  }

  find(token: string): OwnSession | Promise<OwnSession | undefined> {
    return this.#known.get(token) ?? this.#read(token)
  }

  async #read(token: string): Promise<OwnSession | undefined> {
    const endings = this.#endings
    const hash = hashToken(token)
    const found = await accessTokens.find(this.#sql, hash)
    if (!found) return undefined
    const session = sessionOf(found)
    if (found.replaces && this.#users) {
      await this.#users.call('settleSession', found.userId, hash)
      this.forget(found.userId, found.deviceId)
    } else if (endings === this.#endings) this.#known.set(token, session)
    return session
  }

  /** When whoever holds a token last proved who they are. */
  authenticatedAt(token: string): Promise<number | null> {
    return accessTokens.authenticatedAt(this.#sql, hashToken(token))
  }

  async noteAuthenticated(token: string, at: number): Promise<void> {
    await accessTokens.noteAuthenticated(this.#sql, hashToken(token), at)
  }

  /** Forgets the sessions of a user, or only those of one device. */
  forget(userId: string, deviceId?: string): void {
    this.acting.forget(userId, deviceId)
    this.#endings++
    for (const [token, session] of this.#known.entries())
      if (session.userId === userId && (deviceId === undefined || session.deviceId === deviceId))
        this.#known.delete(token)
  }

  /** Notes, not at every request, that a device is in use. */
  sight(session: Session, at: number, address: () => string): void {
    const last = this.#lastSeen.get(session)
    if (last !== undefined && at - last < sightEveryMs) return
    this.#lastSeen.set(session, at)
    if (this.#sightings.length >= maxCollected) return
    const { userId, deviceId } = session
    if (deviceId === undefined) return
    this.#sightings.push({ shard: shardOf(userId), userId, deviceId, at, ip: address() })
    this.#timer ??= setTimeout(() => void this.flush(), collectMs)
    this.#timer.unref()
  }

  /**
   * Writes the notes down; done when all that were taken so far are. One statement at a time: where
   * somebody holds a row of a device, not a connection more waits for it each time.
   */
  flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#written = this.#written.then(() => this.#write())
    return this.#written
  }

  async #write(): Promise<void> {
    const sightings = this.#sightings
    this.#sightings = []
    if (sightings.length === 0) return
    // One row is written once, and rows in one order.
    const last = new Map(sightings.map((each) => [`${each.userId} ${each.deviceId}`, each]))
    const rows = [...last.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each)
    await devices.touch(this.#sql, rows).catch(this.#onFault)
  }
}

/** Most sessions are of nobody special, and say nothing of it. */
const sessionOf = (found: accessTokens.Found): OwnSession => ({
  userId: found.userId,
  deviceId: found.deviceId,
  admin: found.admin,
  ...(found.guest && { guest: true }),
  ...(found.locked && { locked: true }),
  ...(found.suspended && { suspended: true }),
  ...(found.ownLimit && { ownLimit: found.ownLimit }),
  ...(found.expiresAt !== null && { expiresAt: found.expiresAt }),
})
