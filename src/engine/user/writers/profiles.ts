import { MatrixError } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as profiles from '#store/user/profiles.ts'
import { type CallsOf, type Results, type UserLanded, type Writers, lastOf } from './writer.ts'

/** Profiles. */
export type ProfileCalls = {
  /** A value as JSON text, or null to remove the field. `M_PROFILE_TOO_LARGE` past the spec's bound. */
  putProfileField: (userId: string, name: string, value: string | null) => UserLanded
}

export const profileWriters: Writers<ProfileCalls> = {
  putProfileField: { write: putProfileFields, many: true },
}

/** A whole profile, as JSON. Spec: client-server-api/#profiles */
const maxProfileBytes = 65_536

async function putProfileFields(
  sql: Sql,
  calls: CallsOf<ProfileCalls['putProfileField']>,
): Promise<Results<ProfileCalls['putProfileField']>> {
  const userIds = calls.map(({ userId }) => userId)
  const stored = await profiles.list(
    sql,
    userIds,
    calls.map(({ shard }) => shard),
  )
  const known = new Map(userIds.map((userId) => [userId, new Map<string, string>()]))
  for (const row of stored) known.get(row.user_id)!.set(row.name, row.value)

  const faults: Results<ProfileCalls['putProfileField']> = new Map()
  const done = calls.filter(({ userId, args: [name, value] }, index) => {
    const fields = known.get(userId)!
    const before = fields.get(name)
    if (value === null) fields.delete(name)
    else fields.set(name, value)
    const fault = value === null ? undefined : profileFault(fields)
    if (!fault) return true
    if (before === undefined) fields.delete(name)
    else fields.set(name, before)
    faults.set(index, fault)
    return false
  })
  const rows = lastOf(
    done.map(({ args: [name, value], ...place }) => ({ ...place, name, value })),
    (row) => [row.userId, row.name],
  )
  await Promise.all([
    profiles.put(
      sql,
      rows.filter((row): row is typeof row & { value: string } => row.value !== null),
    ),
    profiles.remove(
      sql,
      rows.filter((row) => row.value === null),
    ),
  ])
  return faults
}

/** Why a profile may not be as it is. */
export const profileFault = (fields: ReadonlyMap<string, string>): MatrixError | undefined =>
  profileBytes(fields) <= maxProfileBytes
    ? undefined
    : new MatrixError(400, 'M_PROFILE_TOO_LARGE', `A profile may have ${maxProfileBytes} bytes`)

function profileBytes(fields: ReadonlyMap<string, string>): number {
  let bytes = 2
  for (const [name, value] of fields)
    bytes += Buffer.byteLength(JSON.stringify(name)) + Buffer.byteLength(value) + 2
  return bytes - (fields.size > 0 ? 1 : 0)
}
