import { type Appservice, type Appservices, claimFault, covers } from '#core/appservice.ts'
import {
  MatrixError,
  exclusive,
  forbidden,
  invalidParam,
  unknownToken,
  userDeactivated,
} from '#core/error.ts'
import { domainOf, isNewLocalpart, isShortText, isUserId } from '#core/ids.ts'
import { type AccessTokens, hashToken } from '#engine/user/access-tokens.ts'
import { type Identifier, emailAddress } from '#engine/user/identifier.ts'
import { Nonces } from '#engine/user/nonces.ts'
import { type PasswordCost, Passwords } from '#engine/user/passwords.ts'
import { capitals, randomText, secretText } from '#engine/user/random-text.ts'
import type { Users } from '#engine/user/protocol.ts'
import { profileFault } from '#engine/user/writers/profiles.ts'
import type { Sql } from '#store/db.ts'
import * as refreshTokens from '#store/user/refresh-tokens.ts'
import * as threepids from '#store/user/threepids.ts'
import * as users from '#store/user/users.ts'

export type AccountsOptions = {
  sql: Sql
  users: Users
  tokens: AccessTokens
  appservices: Appservices
  serverName: string
  clock: () => number
  cost: PasswordCost
  /** How long access tokens are good for; for ever unless told. */
  lifetimes?: Lifetimes
}

export type Lifetimes = {
  /** Of clients that can refresh them. */
  refreshableMs: number
  /** Of others, which have to log in again; 0: for ever. */
  plainMs: number
}

const defaultLifetimes: Lifetimes = { refreshableMs: 5 * 60_000, plainMs: 0 }

export type NewUser = {
  /** The local part, or the whole user ID. Made up if left out. */
  name?: string
  password: string
  admin?: boolean
  displayName?: string
  /** JSON: the policies agreed to. */
  agreed?: string
}

export type GhostAccount = {
  userId: string
  /** Fields as JSON texts. */
  profile: Readonly<Record<string, string>>
}

export type Device = {
  deviceId?: string
  displayName?: string
  /** The client can refresh its token. */
  refreshable?: boolean
  /** Whoever logs in has just proved who they are. */
  proved?: boolean
}

/** What a client is given to go on with. */
export type SessionTokens = {
  accessToken: string
  deviceId: string
  refreshToken?: string
  expiresInMs?: number
}

/** Makes accounts, and begins and ends their sessions. */
export class Accounts {
  /** Those of registration by shared secret. */
  readonly nonces: Nonces
  readonly #options: AccountsOptions
  readonly #passwords: Passwords

  constructor(options: AccountsOptions) {
    this.#options = options
    this.#passwords = new Passwords(options.cost)
    this.nonces = new Nonces(options.clock)
  }

  /**
   * The user ID that a new account of this name would have, if it may have it and nobody else does.
   *
   * Spec: appendices/#user-identifiers
   */
  async requireFree(name: string, by?: Appservice): Promise<string> {
    const userId = this.#newUserId(name, by)
    const claimed = claimFault(this.#options.appservices, by, 'users', userId)
    if (claimed !== undefined) throw exclusive(claimed)
    if (await users.exists(this.#options.sql, userId)) throw inUse()
    return userId
  }

  /** Makes an account; answers its user ID. */
  async register(account: NewUser): Promise<string> {
    const { name, password, admin = false, displayName, agreed } = account
    const userId = await this.requireFree(name ?? randomText(capitals, 12).toLowerCase())
    const passwordHash = await this.hash(password)
    await this.#options.users.call('createUser', userId, {
      passwordHash,
      admin,
      createdAt: this.#options.clock(),
      ...(agreed !== undefined && { agreed }),
    })
    if (displayName !== undefined)
      await this.#options.users.call(
        'putProfileField',
        userId,
        'displayname',
        JSON.stringify(displayName),
      )
    return userId
  }

  /** Passwords that wait until others are hashed. */
  get waiting(): number {
    return this.#passwords.waiting
  }

  /** A password as it is stored. */
  hash(password: string): Promise<string> {
    requireStrong(password)
    return this.#passwords.hash(password)
  }

  /** Makes an account of a guest, which nobody can log in to. Spec: client-server-api/#guest-access */
  async registerGuest(): Promise<string> {
    const userId = await this.requireFree(`guest-${randomText(capitals, 16).toLowerCase()}`)
    const createdAt = this.#options.clock()
    await this.#options.users.call('createUser', userId, { admin: false, guest: true, createdAt })
    return userId
  }

  /** Makes an account for an application service: without a password. */
  async registerFor(appservice: Appservice, name: string): Promise<string> {
    const userId = await this.requireFree(name, appservice)
    const createdAt = this.#options.clock()
    await this.#options.users.call('createUser', userId, { admin: false, createdAt })
    return userId
  }

  /**
   * Makes accounts that nobody can log in to by a password, with their profiles, all at once. One that is
   * there by then stays as it is.
   */
  async makeMany(accounts: readonly GhostAccount[], by: Appservice | undefined): Promise<void> {
    const createdAt = this.#options.clock()
    for (const { userId, profile } of accounts) {
      const claimed = claimFault(
        this.#options.appservices,
        by,
        'users',
        this.#newUserId(userId, by),
      )
      if (claimed !== undefined) throw exclusive(claimed)
      const fault = profileFault(new Map(Object.entries(profile)))
      if (fault) throw fault
    }
    const calls = accounts.map(async ({ userId, profile }) => {
      try {
        await this.#options.users.call('createUser', userId, { admin: false, createdAt, profile })
      } catch (error) {
        if (!(error instanceof MatrixError) || error.errcode !== 'M_USER_IN_USE') throw error
      }
    })
    await Promise.all(calls)
  }

  /**
   * The user ID of an account that an application service may log in.
   *
   * Spec: client-server-api/#appservice-login
   */
  async requireOwned(appservice: Appservice, name: string): Promise<string> {
    const userId = this.#userId(name)
    if (!isUserId(userId) || !covers(appservice, 'users', userId))
      throw exclusive(`${userId} is in no namespace of the application service`, 403)
    const account = await users.get(this.#options.sql, userId)
    if (!account) throw forbidden(`${userId} is not registered`)
    if (account.deactivated) throw userDeactivated(userId)
    if (account.locked) throw userLocked()
    return userId
  }

  /** The user ID of an account with this password; undefined tells nothing of what was wrong. */
  async authenticate(who: Identifier, password: string): Promise<string | undefined> {
    const userId = await this.#named(who)
    const account = userId === undefined ? undefined : await users.get(this.#options.sql, userId)
    const hash = account?.deactivated ? null : account?.passwordHash
    if (!(await this.#passwords.verify(password, hash))) return undefined
    if (account?.locked) throw userLocked()
    return userId
  }

  /** Whether a user calls themselves by a name or an ID, as when logging in. */
  isName(name: string, userId: string): boolean {
    return this.#userId(name.toLowerCase()) === userId
  }

  async #named(who: Identifier): Promise<string | undefined> {
    if ('email' in who) {
      const address = emailAddress(who.email)
      return address === undefined
        ? undefined
        : threepids.owner(this.#options.sql, 'email', address)
    }
    const userId = this.#userId(who.user.toLowerCase())
    return isUserId(userId) && domainOf(userId) === this.#options.serverName ? userId : undefined
  }

  /** Begins a session on a device, which ends the one before on it. */
  async logIn(userId: string, { displayName, ...how }: Device): Promise<SessionTokens> {
    const { deviceId, refreshable = false, proved = false } = how
    if (deviceId !== undefined && (deviceId === '' || !isShortText(deviceId)))
      throw invalidParam("'device_id' has 1 to 255 bytes")
    const createdAt = this.#options.clock()
    const device = deviceId ?? randomText(capitals, 10)
    const session = this.#newTokens(device, refreshable)
    const { accessToken, refreshToken, expiresInMs } = session
    await this.#options.users.call('createSession', userId, {
      deviceId: device,
      tokenHash: hashToken(accessToken),
      createdAt,
      ...(refreshToken !== undefined && { refreshHash: hashToken(refreshToken) }),
      ...(expiresInMs !== undefined && { expiresAt: createdAt + expiresInMs }),
      ...(displayName !== undefined && { displayName }),
      ...(proved && { authenticatedAt: createdAt }),
    })
    if (deviceId !== undefined) this.#options.tokens.forget(userId, deviceId)
    return session
  }

  #newTokens(deviceId: string, refreshable: boolean): SessionTokens {
    const { refreshableMs, plainMs } = this.#options.lifetimes ?? defaultLifetimes
    const expiresInMs = refreshable ? refreshableMs : plainMs
    return {
      accessToken: secretText('lw'),
      deviceId,
      ...(refreshable && { refreshToken: secretText('lwr') }),
      ...(expiresInMs > 0 && { expiresInMs }),
    }
  }

  /**
   * Goes on with a session under new tokens. The refresh token is good until one of them is used.
   *
   * Spec: client-server-api/#refreshing-access-tokens
   */
  async refresh(refreshToken: string): Promise<SessionTokens> {
    const { sql, users: owner, clock } = this.#options
    const usedHash = hashToken(refreshToken)
    const holder = await refreshTokens.find(sql, usedHash)
    if (!holder) throw unknownToken()
    const { userId, deviceId, locked, authenticatedAt } = holder
    if (locked) throw userLocked()
    const session = this.#newTokens(deviceId, true)
    const createdAt = clock()
    await owner.call('refreshSession', userId, {
      deviceId,
      usedHash,
      createdAt,
      tokenHash: hashToken(session.accessToken),
      refreshHash: hashToken(session.refreshToken!),
      expiresAt: createdAt + (session.expiresInMs ?? 0),
      ...(authenticatedAt !== null && { authenticatedAt }),
    })
    this.#options.tokens.forget(userId, deviceId)
    return session
  }

  /** Sets a password; ends the sessions of all devices, or of all others, if that is wanted. */
  async setPassword(
    userId: string,
    password: string,
    sessions: { logOut: boolean; except?: string },
  ): Promise<void> {
    const passwordHash = await this.hash(password)
    await this.#options.users.call('setPassword', userId, { passwordHash, ...sessions })
    this.#options.tokens.forget(userId)
  }

  /** Changes what an administrator may change of an account. */
  async change(userId: string, change: users.Change): Promise<void> {
    await this.#options.users.call('changeAccount', userId, change)
    this.#options.tokens.forget(userId)
  }

  /** Takes from an account whatever it can be used by. */
  async deactivate(userId: string, erase: boolean): Promise<void> {
    await this.#options.users.call('deactivate', userId, { erase })
    this.#options.tokens.forget(userId)
  }

  /** Removes devices with their sessions. */
  async removeDevices(userId: string, deviceIds: readonly string[]): Promise<void> {
    await this.#options.users.call('removeDevices', userId, deviceIds)
    for (const deviceId of deviceIds) this.#options.tokens.forget(userId, deviceId)
  }

  /** Ends the session of one device, or of all of them. */
  async logOut(userId: string, deviceId?: string): Promise<void> {
    if (deviceId === undefined) await this.#options.users.call('endAllSessions', userId)
    else await this.#options.users.call('endSession', userId, deviceId)
    this.#options.tokens.forget(userId, deviceId)
  }

  #userId(name: string): string {
    return name.startsWith('@') ? name : `@${name}:${this.#options.serverName}`
  }

  /**
   * Capitals are lowered: names that differ only in them would be taken for each other. Those of an
   * application service are refused, since it goes on with the name that it said.
   */
  #newUserId(name: string, by: Appservice | undefined): string {
    const own = `:${this.#options.serverName}`
    const given = name.startsWith('@') && name.endsWith(own) ? name.slice(1, -own.length) : name
    const localpart = by ? given : given.toLowerCase()
    const userId = `@${localpart}${own}`
    if (!isNewLocalpart(localpart) || !isUserId(userId))
      throw new MatrixError(
        400,
        'M_INVALID_USERNAME',
        'A user name has the characters a-z, 0-9 and ._=/+- only, and 255 bytes with the server name',
      )
    return userId
  }
}

const inUse = () => new MatrixError(400, 'M_USER_IN_USE', 'The user ID is taken')

/** Spec: client-server-api/#account-locking */
export const userLocked = () =>
  new MatrixError(401, 'M_USER_LOCKED', 'This account is locked', { soft_logout: true })

/** A password is refused before anything is asked for. */
export function requireStrong(password: string): void {
  if (password === '') throw new MatrixError(400, 'M_WEAK_PASSWORD', 'The password is empty')
}
