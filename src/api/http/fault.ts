import { MatrixError, RemoteError, invalidParam, unavailable } from '#core/error.ts'
import { isConnectionLost, isOutOfResources } from '#store/db.ts'

/** What is told of a failure: a bug says nothing of itself, what may pass says when to come back. */
export function toMatrixError(error: unknown): MatrixError {
  if (error instanceof MatrixError) return error
  if (error instanceof RemoteError) return remoteFault(error)
  if (isConnectionLost(error)) return unavailable('The database is away')
  if (isOutOfResources(error)) return unavailable('The database takes no new work', 5000)
  // PostgreSQL keeps no NUL in a text; no identifier of Matrix holds one.
  if (codeOf(error) === '22021') return invalidParam('The request holds a NUL character')
  return new MatrixError(500, 'M_UNKNOWN', 'Internal server error')
}

function remoteFault({ server, status, message }: RemoteError): MatrixError {
  return status === 0
    ? new MatrixError(504, 'M_UNKNOWN', `${server} cannot be reached: ${message}`)
    : new MatrixError(502, 'M_UNKNOWN', `${server} answered ${status}: ${message}`)
}

const codeOf = (error: unknown): unknown =>
  error instanceof Error && 'code' in error ? error.code : undefined
