import { invalidParam } from '#core/error.ts'
import { maxShown } from '#engine/read/hierarchy.ts'

/** A token says how many rooms were shown, and of which walk. */
export const tokenFor = (shown: number, of: readonly unknown[]): string =>
  Buffer.from(JSON.stringify([shown, ...of])).toString('base64url')

/** How many rooms a walk has shown, by its token. */
export function placeIn(token: string, of: readonly unknown[]): number {
  let parts: unknown
  try {
    parts = JSON.parse(Buffer.from(token, 'base64url').toString())
  } catch {
    parts = undefined
  }
  const [shown, ...rest] = Array.isArray(parts) ? (parts as unknown[]) : []
  if (!Number.isSafeInteger(shown) || (shown as number) < 1 || (shown as number) > maxShown)
    throw invalidParam("'from' is not a token of this server")
  if (JSON.stringify(rest) !== JSON.stringify(of))
    throw invalidParam("'from' goes with another room, 'max_depth' or 'suggested_only'")
  return shown as number
}
