import type { ListedUser } from '#store/user/list-users.ts'

const textOf = (value: string | null) =>
  value === null ? null : (JSON.parse(value) as string | null)

/** An account as administrators' tools read it; what this server does not have is said not to be there. */
export const writeUser = (row: ListedUser) => ({
  name: row.user_id,
  displayname: textOf(row.displayname),
  avatar_url: textOf(row.avatar_url),
  is_guest: row.guest,
  admin: row.admin,
  deactivated: row.deactivated,
  erased: row.erased,
  locked: row.locked,
  suspended: row.suspended,
  shadow_banned: false,
  user_type: null,
  creation_ts: row.created_at,
  last_seen_ts: row.last_seen_at,
})
