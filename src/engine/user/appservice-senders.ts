import type { Appservices } from '#core/appservice.ts'
import { MatrixError } from '#core/error.ts'
import type { Users } from '#engine/user/protocol.ts'
import type { Sql } from '#store/db.ts'
import * as users from '#store/user/users.ts'

/** Makes the users that application services are when they name nobody else, those that are not there. */
export async function makeSenders(
  { sql, users: owner, clock }: { sql: Sql; users: Users; clock: () => number },
  { all }: Appservices,
): Promise<void> {
  const senders = new Set(all.map(({ sender }) => sender))
  const there = await users.existing(sql, [...senders])
  await Promise.all(
    [...senders.difference(there)].map((sender) =>
      owner.call('createUser', sender, { admin: false, createdAt: clock() }).catch(unlessThere),
    ),
  )
}

/** Another process over the same database may have been first. */
function unlessThere(error: unknown): void {
  if (!(error instanceof MatrixError && error.errcode === 'M_USER_IN_USE')) throw error
}
