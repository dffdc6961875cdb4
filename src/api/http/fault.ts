import { MatrixError, RemoteError, invalidParam, unavailable } from '#core/error.ts'
import { holdsNul, isConnectionLost, isOutOfResources, lackOf } from '#store/db.ts'

/** What is told of a failure: a bug says nothing of itself, what may pass says when to come back. */
export function toMatrixError(error: unknown): MatrixError {
  if (error instanceof MatrixError) return error
  if (error instanceof RemoteError) return remoteFault(error)
  if (isConnectionLost(error)) return unavailable('The database is away', 2_000)
  if (isOutOfResources(error)) return unavailable(lackOf(error), 10_000)
  if (holdsNul(error)) return invalidParam('The request holds a NUL character')
  return new MatrixError(500, 'M_UNKNOWN', 'Internal server error')
}

/** Whether a failure passes by itself, or when the operator makes room: no bug that needs its stack. */
export const isPassing = (error: unknown): boolean =>
  isConnectionLost(error) || isOutOfResources(error)

function remoteFault({ server, status, message }: RemoteError): MatrixError {
  return status === 0
    ? new MatrixError(504, 'M_UNKNOWN', `${server} cannot be reached: ${message}`)
    : new MatrixError(502, 'M_UNKNOWN', `${server} answered ${status}: ${message}`)
}
