import { MatrixError, invalidParam } from '#core/error.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { emailAddress } from '#engine/user/identifier.ts'
import type { Letter, Mail } from '#engine/user/mail.ts'
import { lettersAndDigits, randomText } from '#engine/user/random-text.ts'
import type { Sql } from '#store/db.ts'
import * as threepids from '#store/user/threepids.ts'
import * as validations from '#store/user/threepid-validations.ts'
import type { Purpose } from '#store/user/threepid-validations.ts'

export type EmailValidationsOptions = {
  sql: Sql
  /** Undefined: this server sends no e-mail. */
  mail: Mail | undefined
  serverName: string
  /** The page that asks whether it was oneself. */
  pageUrl: string
  clock: () => number
}

export type Request = {
  purpose: Purpose
  email: string
  clientSecret: string
  sendAttempt: number
  nextLink: string | undefined
}

const lifetimeMs = 3600 * 1000
/** Wrong tokens that are borne. */
const maxWrong = 10

/**
 * Finds out whether somebody reads the mail of an address. Whatever is asked for, the same is answered
 * and one letter is sent: only that letter tells whether the address is that of an account.
 */
export class EmailValidations {
  readonly #options: EmailValidationsOptions

  constructor(options: EmailValidationsOptions) {
    this.#options = options
  }

  get enabled(): boolean {
    return this.#options.mail !== undefined
  }

  /** Sends a letter with a link; answers the session. */
  async request({ purpose, email, clientSecret, sendAttempt, nextLink }: Request): Promise<string> {
    const { sql, mail, clock } = this.#options
    if (!mail)
      throw new MatrixError(
        400,
        'M_THREEPID_MEDIUM_NOT_SUPPORTED',
        'This server sends no e-mail, so addresses cannot be validated',
      )
    const address = emailAddress(email)
    if (address === undefined) throw invalidParam("'email' is not an e-mail address")
    requireSecret(clientSecret)
    if (nextLink !== undefined && !/^https?:\/\/[^\s]{1,2000}$/.test(nextLink))
      throw invalidParam("'next_link' is not a web address")
    const owned = (await threepids.owner(sql, 'email', address)) !== undefined
    const isUseful = owned === (purpose === 'password')
    const token = randomText(lettersAndDigits, 32)
    const { sid, isNew } = await validations.begin(sql, {
      sid: randomText(lettersAndDigits, 24),
      address,
      purpose,
      clientSecret,
      sendAttempt,
      tokenHash: isUseful ? hashToken(token) : null,
      nextLink: nextLink ?? null,
      expiresAt: clock() + lifetimeMs,
    })
    if (isNew) {
      const query = new URLSearchParams({ sid, client_secret: clientSecret, token })
      const link = `${this.#options.pageUrl}?${query.toString()}`
      await mail.send({ to: address, ...this.#letter(purpose, isUseful, link) })
    }
    return sid
  }

  /** A session, by both of its secrets. */
  find(sid: string, clientSecret: string): Promise<validations.Validation | undefined> {
    return isSession(sid, clientSecret)
      ? validations.find(this.#options.sql, sid, clientSecret, this.#options.clock())
      : Promise.resolve(undefined)
  }

  /** Takes the token of a letter; answers the session if it is the right one. */
  async submit(
    sid: string,
    clientSecret: string,
    token: string,
  ): Promise<validations.Validation | undefined> {
    const found = await this.find(sid, clientSecret)
    if (!found) return undefined
    const now = this.#options.clock()
    const isRight = await validations.submit(this.#options.sql, {
      sid,
      tokenHash: hashToken(token),
      now,
      maxWrong,
    })
    return isRight ? found : undefined
  }

  /** The address of a session that is validated, which is used up. */
  async take(
    sid: string,
    clientSecret: string,
    purpose: Purpose,
  ): Promise<{ address: string; validatedAt: number } | undefined> {
    if (!isSession(sid, clientSecret)) return undefined
    const now = this.#options.clock()
    const taken = await validations.take(this.#options.sql, { sid, clientSecret, purpose, now })
    return taken && { address: taken.address, validatedAt: taken.validated_at! }
  }

  #letter(purpose: Purpose, isUseful: boolean, link: string): Omit<Letter, 'to'> {
    const { serverName } = this.#options
    const confirm = `To go on, open this link within an hour:\n\n${link}\n\n`
    const ignore = 'If it was not you, you need to do nothing.\n'
    if (purpose === 'password')
      return {
        subject: `Your password on ${serverName}`,
        text: isUseful
          ? `Somebody, you we hope, wants to set a new password for your account on ${serverName}.\n\n${confirm}${ignore}`
          : `Somebody, you perhaps, wants to set a new password on ${serverName}. There is no account with this e-mail address; it may be that yours has another one.\n\n${ignore}`,
      }
    return {
      subject: `Your e-mail address on ${serverName}`,
      text: isUseful
        ? `Somebody, you we hope, wants to use this e-mail address on ${serverName}.\n\n${confirm}${ignore}`
        : `Somebody, you perhaps, wants to use this e-mail address on ${serverName}. It belongs to an account there already. If it is yours and you do not know the password any more, ask for a new one where you log in.\n\n${ignore}`,
    }
  }
}

/** Spec: identity-service-api, the grammar of `client_secret` and `sid`. */
const grammar = /^[0-9a-zA-Z.=_-]{1,255}$/

const isSession = (sid: string, clientSecret: string) =>
  grammar.test(sid) && grammar.test(clientSecret)

function requireSecret(clientSecret: string): void {
  if (!grammar.test(clientSecret))
    throw invalidParam("'client_secret' has 1 to 255 of the characters 0-9 a-z A-Z . = _ -")
}
