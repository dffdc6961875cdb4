import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { type Appservice, covers } from '#core/appservice.ts'
import { MatrixError, forbidden, userDeactivated } from '#core/error.ts'
import { isShortText, isUserId } from '#core/ids.ts'
import { shardOf } from '#core/shard.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { Sql } from '#store/db.ts'
import * as users from '#store/user/users.ts'

/**
 * Finds the sessions of users that application services act as; those in use are kept in memory.
 *
 * Spec: application-service-api/#identity-assertion
 */
export class AppserviceSessions {
  readonly #sql: Sql
  readonly #known: LRUCache<string, Session>
  // A look-up that began before a device was removed must not bring it back.
  #endings = 0

  constructor(sql: Sql, max: number) {
    this.#sql = sql
    this.#known = new LRUCache(atMost(max))
  }

  /** The session of a registered user in its namespace, perhaps on a device that the user has. */
  find(
    appservice: Appservice,
    userId: string,
    deviceId: string | undefined,
  ): Session | Promise<Session> {
    const known = this.#known.get(keyOf(userId, deviceId))
    return known?.appservice === appservice ? known : this.#read(appservice, userId, deviceId)
  }

  async #read(
    appservice: Appservice,
    userId: string,
    deviceId: string | undefined,
  ): Promise<Session> {
    if (!isUserId(userId) || !covers(appservice, 'users', userId))
      throw forbidden(`The application service ${appservice.id} may not act as ${userId}`)
    if (deviceId !== undefined && !isShortText(deviceId)) throw unknownDevice(userId)
    const endings = this.#endings
    const standing = await users.standing(this.#sql, shardOf(userId), userId, deviceId)
    if (!standing) throw forbidden(`${userId} is not registered`)
    if (standing.deactivated) throw userDeactivated(userId)
    // v1.17+
    if (deviceId !== undefined && !standing.hasDevice) throw unknownDevice(userId)
    // Whose account is an administrator's does not make the application service one.
    const session: Session = {
      userId,
      deviceId,
      admin: false,
      appservice,
      ...(standing.locked && { locked: true }),
      ...(standing.suspended && { suspended: true }),
      ...(standing.ownLimit && { ownLimit: standing.ownLimit }),
    }
    if (endings === this.#endings) this.#known.set(keyOf(userId, deviceId), session)
    return session
  }

  /** Forgets that a user is there, or only one of their devices. */
  forget(userId: string, deviceId?: string): void {
    this.#endings++
    for (const [key, session] of this.#known.entries())
      if (session.userId === userId && (deviceId === undefined || session.deviceId === deviceId))
        this.#known.delete(key)
  }
}

/** A user ID has no space behind its server name. */
const keyOf = (userId: string, deviceId: string | undefined) =>
  deviceId === undefined ? userId : `${userId} ${deviceId}`

const unknownDevice = (userId: string) =>
  new MatrixError(400, 'M_UNKNOWN_DEVICE', `${userId} has no such device`)
