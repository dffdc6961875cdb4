import { MatrixError, badJson, forbidden, missingParam, unauthorized } from '#core/error.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import type { Accounts } from '#engine/user/accounts.ts'
import { identifierOf } from '#engine/user/identifier.ts'
import type { EmailValidations } from '#engine/user/email-validations.ts'
import type { Purpose } from '#store/user/threepid-validations.ts'
import type { Pool } from '#store/db.ts'
import * as registrationTokens from '#store/user/registration-tokens.ts'
import type { Proof, Stage } from './flows.ts'

export type Attempt = {
  auth: JsonObject
  session: string
  /** Whoever is logged in; undefined where nobody is. */
  userId: string | undefined
  /** What an e-mail address must have been validated for. */
  purpose: Purpose
}

export type StageOptions = {
  sql: Pool
  accounts: Accounts
  emails: EmailValidations
  clock: () => number
  /** JSON: the policies that `m.login.terms` asks to agree to. */
  policies: string
}

/** What a stage proves; it throws what is wrong with an attempt, 401 if another one may do. */
export type Stages = { readonly [S in Stage]: (attempt: Attempt) => Promise<Proof> }

export const stagesOf = ({ sql, accounts, emails, clock, policies }: StageOptions): Stages => ({
  async 'm.login.password'({ auth, userId }) {
    const { password } = auth
    if (typeof password !== 'string') throw missingParam("'password' is missing")
    // Whoever is logged in need not say who they are.
    const isNamed = ['identifier', 'user', 'medium'].some((key) => Object.hasOwn(auth, key))
    const named = userId === undefined || isNamed ? identifierOf(auth) : { user: userId }
    // Nobody else can prove anything here, so their password is not even looked at.
    if (named && 'user' in named && userId !== undefined && !accounts.isName(named.user, userId))
      throw forbidden('Only the user who is logged in can prove that it is them')
    const proved = named && (await accounts.authenticate(named, password))
    // An address of somebody else proves nothing, and must not be told to be theirs.
    if (proved === undefined || (userId !== undefined && proved !== userId))
      throw new MatrixError(401, 'M_FORBIDDEN', 'The user name or the password is wrong')
    return { userId: proved }
  },

  async 'm.login.registration_token'({ auth, session }) {
    const { token } = auth
    if (typeof token !== 'string') throw missingParam("'token' is missing")
    // No token has a NUL, which PostgreSQL could not even look for.
    const held =
      /^[A-Za-z0-9._~-]{1,64}$/.test(token) &&
      (await registrationTokens.hold(sql, token, session, clock()))
    if (!held) throw unauthorized('The registration token is not valid')
    return { registrationToken: token }
  },

  async 'm.login.terms'() {
    return { agreed: policies }
  },

  async 'm.login.email.identity'({ auth, purpose }) {
    const creds = auth['threepid_creds'] ?? auth['threepidCreds'] ?? null
    if (!isObject(creds)) throw missingParam("'threepid_creds' is missing")
    const { sid, client_secret: clientSecret } = creds
    if (typeof sid !== 'string' || typeof clientSecret !== 'string')
      throw badJson("'threepid_creds' has a sid and a client_secret")
    const email = await emails.take(sid, clientSecret, purpose)
    if (!email) throw new MatrixError(401, 'M_UNAUTHORIZED', 'The address is not validated')
    return { email }
  },

  async 'm.login.dummy'() {
    return {}
  },
})
