/**
 * The one error a client or another server may see.
 *
 * Spec: client-server-api/#standard-error-response
 */
export class MatrixError extends Error {
  override readonly name = 'MatrixError'
  readonly status: number
  readonly errcode: Errcode
  readonly extra: Readonly<Record<string, unknown>>

  constructor(
    status: number,
    errcode: Errcode,
    message: string,
    extra: Readonly<Record<string, unknown>> = {},
  ) {
    super(message)
    this.status = status
    this.errcode = errcode
    this.extra = extra
  }

  toJSON(): Record<string, unknown> {
    return { errcode: this.errcode, error: this.message, ...this.extra }
  }
}

export type Errcode = `M_${Uppercase<string>}` | `${Lowercase<string>}.${string}`

// One constructor per code that is thrown from more than one place.

export const badJson = (message: string) => new MatrixError(400, 'M_BAD_JSON', message)
export const notJson = () => new MatrixError(400, 'M_NOT_JSON', 'The request body is not JSON')
export const invalidParam = (message: string) => new MatrixError(400, 'M_INVALID_PARAM', message)
export const missingParam = (message: string) => new MatrixError(400, 'M_MISSING_PARAM', message)
export const missingToken = () => new MatrixError(401, 'M_MISSING_TOKEN', 'Missing access token')
export const unknownToken = (softLogout = false) =>
  new MatrixError(401, 'M_UNKNOWN_TOKEN', 'Unknown access token', { soft_logout: softLogout })
export const unauthorized = (message: string) => new MatrixError(401, 'M_UNAUTHORIZED', message)
export const forbidden = (message: string) => new MatrixError(403, 'M_FORBIDDEN', message)
/** What an application service has for itself alone, or what is not its own. */
export const exclusive = (message: string, status: 400 | 403 = 400) =>
  new MatrixError(status, 'M_EXCLUSIVE', message)
export const userDeactivated = (userId: string) =>
  new MatrixError(403, 'M_USER_DEACTIVATED', `The account ${userId} is deactivated`)
export const notFound = (message: string) => new MatrixError(404, 'M_NOT_FOUND', message)
/** It would be right at another time, or of something in another state. */
export const conflict = (message: string, extra = {}) =>
  new MatrixError(409, 'M_CONFLICT', message, extra)
export const tooLarge = (message: string) => new MatrixError(413, 'M_TOO_LARGE', message)
export const unrecognized = (status: 404 | 405) =>
  new MatrixError(status, 'M_UNRECOGNIZED', 'Unrecognized request')
export const limitExceeded = (retryAfterMs: number) =>
  new MatrixError(429, 'M_LIMIT_EXCEEDED', 'Too many requests', { retry_after_ms: retryAfterMs })
/** The server cannot answer now, and a retry may succeed: a worker restarts, the database is away. */
export const unavailable = (message: string, retryAfterMs = 1000) =>
  new MatrixError(503, 'M_UNKNOWN', message, { retry_after_ms: retryAfterMs })

/** Another server failed us: no answer, a wrong one, or an error of its own. Not a bug of ours. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError'
  readonly server: string
  /** The HTTP status, or 0 if there was no answer. */
  readonly status: number
  readonly errcode: string
  /** With `M_INCOMPATIBLE_ROOM_VERSION`: which version the room has. */
  readonly roomVersion: string | undefined

  constructor(
    server: string,
    status: number,
    errcode: string,
    message: string,
    roomVersion?: string,
  ) {
    super(message)
    this.server = server
    this.status = status
    this.errcode = errcode
    this.roomVersion = roomVersion
  }
}
