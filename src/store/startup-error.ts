/**
 * Why the server cannot start, in words for its operator: printed as they are, without a stack, and
 * followed by exit 1.
 */
export class StartupError extends Error {
  override readonly name = 'StartupError'
}
