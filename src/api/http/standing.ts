import { MatrixError } from '#core/error.ts'
import { userLocked } from '#engine/user/accounts.ts'
import type { AnyOp, Auth, Auths } from '#api/http/op.ts'

type Admitting = Pick<AnyOp, 'admits' | 'method'>

/** Turns away users whom an operation does not serve. */
export function requireStanding(op: Admitting, who: Auths[Auth]): void {
  if (who === null || !('admin' in who)) return
  const { guest, locked, suspended } = who
  if (!guest && !locked && !suspended) return
  const admits = op.admits ?? []
  // Spec: client-server-api/#account-locking
  if (locked && !admits.includes('locked')) throw userLocked()
  // Spec: client-server-api/#guest-access
  if (guest && !admits.includes('guest'))
    throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'Guests may not do this')
  // Spec: client-server-api/#account-suspension
  if (suspended && op.method !== 'GET' && !admits.includes('suspended')) throw userSuspended()
}

/** Also for what depends on more than the operation. */
export const userSuspended = () =>
  new MatrixError(403, 'M_USER_SUSPENDED', 'This account is suspended, and may not do this')
