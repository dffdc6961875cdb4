import { MatrixError, type Errcode } from '#core/error.ts'
import type { Purpose } from '#store/user/threepid-validations.ts'

export type { Purpose }

/** The stages that this server knows. Spec: client-server-api/#authentication-types */
export const stages = [
  'm.login.password',
  'm.login.registration_token',
  'm.login.terms',
  'm.login.email.identity',
  'm.login.dummy',
] as const
export type Stage = (typeof stages)[number]

/** Ways to prove who one is, or that one may: one of them, all of its stages. */
export type Flows = readonly (readonly Stage[])[]

export const byPassword: Flows = [['m.login.password']]

/** What the stages have proved. */
export type Proof = {
  /** Whose password it was. */
  userId?: string
  /** An address that whoever calls can read the mail of. */
  email?: { address: string; validatedAt: number }
  /** A use of it is counted. */
  registrationToken?: string
  /** JSON: the policies agreed to. */
  agreed?: string
}

export type Challenge = {
  flows: Flows
  params: Record<string, unknown>
  session: string
  completed: readonly string[]
  fault?: { errcode: Errcode; message: string }
}

/**
 * More is to be proved, or what was tried proves nothing.
 *
 * Spec: client-server-api/#user-interactive-api-in-the-rest-api
 */
export class MoreAuthentication extends MatrixError {
  readonly #challenge: Challenge

  constructor(challenge: Challenge) {
    const { fault } = challenge
    super(401, fault?.errcode ?? 'M_UNAUTHORIZED', fault?.message ?? 'More is to be proved')
    this.#challenge = challenge
  }

  override toJSON(): Record<string, unknown> {
    const { flows, params, session, completed, fault } = this.#challenge
    return {
      ...(fault && { errcode: fault.errcode, error: fault.message }),
      flows: flows.map((stages) => ({ stages })),
      params,
      session,
      ...(completed.length > 0 && { completed }),
    }
  }
}
