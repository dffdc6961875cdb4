import { MatrixError } from '#core/error.ts'

/**
 * What is found; or else what is found after an application service has made it. Nothing is asked where
 * something is found.
 *
 * Spec: application-service-api/#querying
 */
export async function orMade<T>(
  look: () => Promise<T | undefined>,
  make: () => Promise<boolean>,
): Promise<T | undefined> {
  let missing: MatrixError | undefined
  const found = await look().catch((error: unknown) => {
    if (!(error instanceof MatrixError && error.status === 404)) throw error
    missing = error
    return undefined
  })
  if (found !== undefined) return found
  if (await make()) return look()
  if (missing) throw missing
  return undefined
}
