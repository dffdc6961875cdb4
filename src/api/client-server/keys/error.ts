import { MatrixError } from '#core/error.ts'
import type { KeyFault } from '#core/keys/fault.ts'

/** What is wrong with a key, as an answer. */
export const keyError = ({ errcode, error }: KeyFault): MatrixError =>
  new MatrixError(400, errcode, error)
