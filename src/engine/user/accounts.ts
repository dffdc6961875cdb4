import { type Appservice, type Appservices, claimFault, covers } from '#core/appservice.ts'
import { MatrixError, exclusive, forbidden, invalidParam, userDeactivated } from '#core/error.ts'
import { domainOf, isNewLocalpart, isShortText, isUserId } from '#core/ids.ts'
import { type AccessTokens, hashToken } from '#engine/user/access-tokens.ts'
import { Nonces } from '#engine/user/nonces.ts'
import { type PasswordCost, Passwords } from '#engine/user/passwords.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as users from '#store/user/users.ts'

export type AccountsOptions = {
  sql: Sql
  users: Users
  tokens: AccessTokens
  appservices: Appservices
  serverName: string
  clock: () => number
  cost: PasswordCost
}

export type NewUser = {
  /** The local part, or the whole user ID. Made up if left out. */
  name?: string
  password: string
  admin?: boolean
  displayName?: string
}

export type Device = { deviceId?: string; displayName?: string }

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
  async register({ name, password, admin = false, displayName }: NewUser): Promise<string> {
    const userId = await this.requireFree(name ?? randomText(letters, 12).toLowerCase())
    if (password === '') throw new MatrixError(400, 'M_WEAK_PASSWORD', 'The password is empty')
    const passwordHash = await this.#passwords.hash(password)
    const createdAt = this.#options.clock()
    await this.#options.users.call('createUser', userId, { passwordHash, admin, createdAt })
    if (displayName !== undefined)
      await this.#options.users.call(
        'putProfileField',
        userId,
        'displayname',
        JSON.stringify(displayName),
      )
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
    return userId
  }

  /** The user ID of an account with this password; undefined tells nothing of what was wrong. */
  async authenticate(name: string, password: string): Promise<string | undefined> {
    const userId = this.#userId(name.toLowerCase())
    const account =
      isUserId(userId) && domainOf(userId) === this.#options.serverName
        ? await users.get(this.#options.sql, userId)
        : undefined
    const hash = account?.deactivated ? null : account?.passwordHash
    return (await this.#passwords.verify(password, hash)) ? userId : undefined
  }

  /** Begins a session on a device, which ends the one before on it. */
  async logIn(
    userId: string,
    { deviceId, displayName }: Device,
  ): Promise<{ accessToken: string; deviceId: string }> {
    if (deviceId !== undefined && (deviceId === '' || !isShortText(deviceId)))
      throw invalidParam("'device_id' has 1 to 255 bytes")
    const device = deviceId ?? randomText(letters, 10)
    const accessToken = `lw_${randomText(lettersAndDigits, 43)}`
    await this.#options.users.call('createSession', userId, {
      deviceId: device,
      tokenHash: hashToken(accessToken),
      createdAt: this.#options.clock(),
      ...(displayName !== undefined && { displayName }),
    })
    if (deviceId !== undefined) this.#options.tokens.forget(userId, deviceId)
    return { accessToken, deviceId: device }
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

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const lettersAndDigits = `${letters}${letters.toLowerCase()}0123456789`

/** Each character is as likely as any other. */
function randomText(alphabet: string, length: number): string {
  const bound = 256 - (256 % alphabet.length)
  let text = ''
  while (text.length < length)
    for (const byte of crypto.getRandomValues(new Uint8Array(length)))
      if (byte < bound && text.length < length) text += alphabet[byte % alphabet.length]
  return text
}
