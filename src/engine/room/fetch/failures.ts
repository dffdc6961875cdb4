import { type Errcode, forbidden, MatrixError, notFound, RemoteError } from '#core/error.ts'

/** How many servers may forbid a thing before no other is asked. */
const enoughRefusals = 3

/**
 * What servers said that were asked in turn for one user, and what the user is told if none of them
 * did it.
 */
export class Failures {
  readonly #what: string
  readonly #errors: RemoteError[] = []

  /** `what` was asked for, as in: Nobody could be reached to `join the room`. */
  constructor(what: string) {
    this.#what = what
  }

  /** Notes what a server said; what is no fault of another server is thrown. */
  add(error: unknown): void {
    if (!(error instanceof RemoteError)) throw error
    this.#errors.push(error)
  }

  /** Whether so many servers have forbidden it that others need not be asked. */
  get final(): boolean {
    return this.#errors.filter(isRefusal).length >= enoughRefusals
  }

  /** The answer for the user. 5xx: nobody said no, so it may work later. */
  toMatrixError(): MatrixError {
    const errors = this.#errors
    if (errors.length === 0) return notFound(`No server is known that could ${this.#what}`)
    const incompatible = errors.find(({ errcode }) => errcode === 'M_INCOMPATIBLE_ROOM_VERSION')
    if (incompatible) return this.#incompatible(incompatible)
    const refusal = errors.find(isRefusal)
    if (refusal?.errcode === inviteBlocked)
      return new MatrixError(403, inviteBlocked, sentenceOf(refusal))
    if (refusal) return forbidden(sentenceOf(refusal))
    // Restricted joins: no server that was asked can tell, or let the user in.
    const unable = errors.find(({ errcode }) => unableCodes.has(errcode))
    if (unable) return new MatrixError(400, unable.errcode as Errcode, sentenceOf(unable))
    const unknown = errors.find(({ status }) => status === 404)
    if (unknown && errors.every(({ status }) => status === 404 || status === 0))
      return notFound(sentenceOf(unknown))
    const [worst] = errors.toSorted((a, b) => b.status - a.status)
    const status = worst!.status === 0 ? 504 : 502
    return new MatrixError(
      status,
      'M_UNKNOWN',
      `No other server could ${this.#what}. ${sentenceOf(worst!)}`,
    )
  }

  #incompatible({ server, roomVersion }: RemoteError): MatrixError {
    return new MatrixError(
      400,
      'M_INCOMPATIBLE_ROOM_VERSION',
      `${server} says that the room has version ${roomVersion ?? 'unknown'}, which this server does not support`,
      roomVersion === undefined ? {} : { room_version: roomVersion },
    )
  }
}

/** Said as it is: the user asked is at fault, not the one who asks. */
const inviteBlocked = 'M_INVITE_BLOCKED'
const unableCodes = new Set(['M_UNABLE_TO_AUTHORISE_JOIN', 'M_UNABLE_TO_GRANT_JOIN'])
const isRefusal = ({ status }: RemoteError) => status === 403 || status === 401
const sentenceOf = ({ server, message }: RemoteError) =>
  message.includes(server) ? message : `${server} says: ${message}`
