import type { JsonObject } from '#core/json.ts'

/**
 * What the server reads of `m.room.member`.
 *
 * Spec: client-server-api/#mroommember
 */
export type Membership = 'ban' | 'invite' | 'join' | 'knock' | 'leave'

const memberships: readonly string[] = ['ban', 'invite', 'join', 'knock', 'leave']

/** The membership that a content sets; undefined if it sets none that we know. */
export function membershipOf(content: JsonObject | undefined): Membership | undefined {
  const membership = content?.['membership']
  return typeof membership === 'string' && memberships.includes(membership)
    ? (membership as Membership)
    : undefined
}

/** The name that a member shows. */
export function displayNameOf(content: JsonObject): string | undefined {
  const name = content['displayname']
  return typeof name === 'string' ? name : undefined
}

/** The picture that a member shows. */
export function avatarUrlOf(content: JsonObject): string | undefined {
  const url = content['avatar_url']
  return typeof url === 'string' ? url : undefined
}

/** The user whose server vouches for a restricted join. */
export function authorisingUserOf(content: JsonObject): string | undefined {
  const user = content['join_authorised_via_users_server']
  return typeof user === 'string' ? user : undefined
}

/** Whether an invite is for a direct chat. */
export const isDirect = (content: JsonObject): boolean => content['is_direct'] === true
