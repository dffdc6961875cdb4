import { MatrixError, missingParam } from '#core/error.ts'
import { isObject, type Json } from '#core/json.ts'

/** Who wants to log in, in the words of the request. */
export type Identifier = { user: string } | { email: string }

type Named = { [key: string]: Json | undefined }

/**
 * Whom a request names: by name or by address, in the form of today or in the deprecated one. Undefined
 * if it names nobody that could be known here, such as a phone number.
 *
 * Spec: client-server-api/#identifier-types
 */
export function identifierOf(body: Named): Identifier | undefined {
  const { identifier } = body
  if (identifier === undefined || identifier === null) return plainly(body)
  if (!isObject(identifier)) throw missingParam("'identifier' is an object")
  switch (identifier['type']) {
    case 'm.id.user':
      if (typeof identifier['user'] !== 'string') throw missingParam("'user' is missing")
      return { user: identifier['user'] }
    case 'm.id.thirdparty':
      return byAddress(identifier['medium'], identifier['address'])
    case 'm.id.phone':
      return undefined
    default:
      throw new MatrixError(400, 'M_UNKNOWN', 'There is no such type of identifier')
  }
}

function plainly({ user, medium, address }: Named): Identifier | undefined {
  if (typeof user === 'string') return { user }
  return medium === undefined ? undefined : byAddress(medium, address)
}

const byAddress = (medium: Json | undefined, address: Json | undefined): Identifier | undefined =>
  medium === 'email' && typeof address === 'string' ? { email: address } : undefined

/** An e-mail address as it is kept; undefined if it is none. */
export function emailAddress(text: string): string | undefined {
  const address = text.trim().toLowerCase()
  // Printable, and nothing that could stand between two addresses.
  const isOne = /^[^\s@<>,;"\\\p{Cc}]+@[^\s@<>,;"\\\p{Cc}]+$/u.test(address)
  return isOne && address.length <= 254 ? address : undefined
}
